package event

// Kind says what a Msg is.
type Kind uint8

// The kinds of Msg, in the order a stream can show them.
const (
	// Wake carries nothing: Wake was called, or the stream was silent for a
	// while. It gives the loop a turn.
	Wake Kind = iota
	// Begin opens a transaction; Pos.Commit and Time are its commit's.
	Begin
	// Row is one insert into a table of the publication, or one transactional
	// logical message (Rel is nil then).
	Row
	// Commit ends a transaction; End is the LSN after its commit record.
	Commit
	// Alive is a keepalive; End is the server's WAL end. Only one seen outside
	// a transaction says that all before End was sent.
	Alive
)

// Msg is one step of the replication stream. The Source overwrites it at each
// Next.
type Msg struct {
	Kind Kind
	Pos  Position // Begin: ordinal 0. Row: its position.
	End  LSN      // Commit, Alive
	Time int64    // commit time, microseconds since the Unix epoch
	XID  uint32
	Rel  *Relation // Row; a new pointer whenever the relation's shape changed
	// Cols are the column values in the text format, one per Rel.Columns; nil
	// is SQL NULL. They alias the socket buffer and are dead at the next Next.
	Cols [][]byte
	// Prefix and Content are those of a logical message (Rel is nil). They
	// alias the socket buffer too.
	Prefix  string
	Content []byte
	Cursor  string // a snapshot's page; the Source's own
	More    bool   // another message is already buffered behind this one
}

// Relation describes a table as the stream last announced it.
type Relation struct {
	OID     uint32
	Schema  string
	Table   string
	Columns []Column
}

// Name is schema.table, for messages to people.
func (r *Relation) Name() string {
	if r == nil {
		return "(logical message)"
	}
	return r.Schema + "." + r.Table
}

// Column is one column of a Relation.
type Column struct {
	Name string
	Type uint32 // OID of the type
	Key  bool   // part of the replica identity
}
