package event

// Checkpoint is where a pipeline stands. The two facts answer two questions
// and are never merged: Last decides which rows are dropped after a restart,
// Safe is what Postgres may forget.
type Checkpoint struct {
	Last   Position // the last row whose records are in Kafka
	XID    uint32   // the transaction of Last
	Safe   LSN      // everything that ends at or before Safe is in Kafka
	Time   int64    // commit time of Last, microseconds since the Unix epoch
	Events uint64   // records produced since the pipeline was created
	Cursor string   // a snapshot's page; the Source's own
}

// The states of a Saved checkpoint.
const (
	// StateCreating is the intent of a first start (or of `slots recreate`):
	// the slot may or may not exist yet.
	StateCreating = "creating"
	// StateStreaming is the ordinary state.
	StateStreaming = "streaming"
	// StateDone marks a replay that reached its end and is never run again.
	StateDone = "done"
	// StateRepairing is that of a repair's own key: it says how many records
	// the repair has produced, and is never gone on from.
	StateRepairing = "repairing"
	// StateRedriving is that of a redrive's own key.
	StateRedriving = "redriving"
)

// SavedVersion is the version of the Saved format this relay writes.
const SavedVersion = 1

// Saved is the value of a record on the checkpoint topic: one JSON object a
// human can read with any console consumer.
type Saved struct {
	V           int        `json:"v"`
	State       string     `json:"state"`
	SystemID    string     `json:"system_id"`
	Timeline    uint32     `json:"timeline"`
	ClusterID   string     `json:"cluster_id"` // of Kafka
	Database    string     `json:"database"`
	Slot        string     `json:"slot"`
	Publication string     `json:"publication"` // Publication.Fingerprint
	Options     string     `json:"options"`     // fingerprint of the stream options
	IDs         int        `json:"ids"`         // how many transactional ids are in use
	Last        *SavedLast `json:"last"`        // null: no row yet
	Safe        LSN        `json:"safe_lsn"`
	CommitTime  string     `json:"commit_time,omitempty"` // of Last, RFC 3339
	Events      uint64     `json:"events"`
	Drop        string     `json:"drop_slot,omitempty"` // slot that `slots recreate` may drop
	Cursor      string     `json:"cursor,omitempty"`
	// Redrive is the id of the redrive that committed this checkpoint, on the
	// transactional ids of the pipeline; the pipeline's own next one is without it.
	Redrive string `json:"redrive,omitempty"`
	Version string `json:"relay_version"`

	// Offset and Partition are where the record was read; not part of it.
	Offset    int64 `json:"-"`
	Partition int32 `json:"-"`
}

// SavedLast is Checkpoint.Last and the xid as Saved writes them.
type SavedLast struct {
	Commit LSN    `json:"commit_lsn"`
	Ord    uint64 `json:"ordinal"`
	XID    uint32 `json:"xid"`
}

// Exists reports whether a checkpoint was found at all.
func (s *Saved) Exists() bool { return s.V != 0 }

// Checkpoint is the position of s.
func (s *Saved) Checkpoint() Checkpoint {
	cp := Checkpoint{Safe: s.Safe, Events: s.Events, Cursor: s.Cursor, Time: parseTime(s.CommitTime)}
	if s.Last != nil {
		cp.Last = Position{Commit: s.Last.Commit, Ord: s.Last.Ord}
		cp.XID = s.Last.XID
	}
	return cp
}

// At returns s moved to the position cp.
func (s Saved) At(cp Checkpoint) Saved {
	s.Safe, s.Events, s.Cursor = cp.Safe, cp.Events, cp.Cursor
	s.Last, s.CommitTime = nil, ""
	if cp.Last != (Position{}) {
		s.Last = &SavedLast{Commit: cp.Last.Commit, Ord: cp.Last.Ord, XID: cp.XID}
		s.CommitTime = formatTime(cp.Time)
	}
	return s
}
