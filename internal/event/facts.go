package event

import (
	"fmt"
	"strings"
)

// Facts are what a Postgres server states about itself, our slot and our
// publication, read over SQL without touching anything. Guards judge them
// against a Saved checkpoint.
type Facts struct {
	SystemID   string
	Timeline   uint32
	History    []Switch // the server's timeline history, oldest first
	Version    int      // server_version_num, 150018
	InRecovery bool
	Database   string
	Flush      LSN // pg_current_wal_flush_lsn(); zero in recovery

	WALLevel            string
	EffectiveLevel      string // effective_wal_level, from 19: logical while there is a logical slot; "" before
	MaxSlots, Slots     int
	MaxSenders, Senders int
	IdleSlotTimeout     string // idle_replication_slot_timeout, from 18; "" before, "0" off
	MaxSlotKeepSize     string // max_slot_wal_keep_size; "-1" off
	Role                string
	Replication         bool // the role may replicate
	Superuser           bool
	CanCreate           bool // CREATE on the database: a publication needs it

	Slot        Slot
	Publication Publication
	Tables      []Table // the tables the pipeline is to read

	// Sender is our walsender, when we stream.
	SenderPID int    // 0: none
	SyncState string // "async" is the only one we want
}

// Switch is one line of a timeline history file: Timeline ended at At.
type Switch struct {
	Timeline uint32
	At       LSN
}

// Left is where the server's log left a timeline it descends from; known is
// false for one that is not in its history.
func (f *Facts) Left(timeline uint32) (at LSN, known bool) {
	for _, h := range f.History {
		if h.Timeline == timeline {
			return h.At, true
		}
	}
	return 0, false
}

// Slot is a row of pg_replication_slots.
type Slot struct {
	Name           string
	Exists         bool
	Plugin         string
	Type           string // "logical"
	Database       string
	Temporary      bool
	TwoPhase       bool
	ActivePID      int
	RestartLSN     LSN
	ConfirmedFlush LSN
	WALStatus      string // reserved, extended, unreserved, lost
	Invalid        string // invalidation_reason, conflicting; "" when sound
	Failover       bool
	Synced         bool
}

// Publication is what decides which rows the slot sends. A change of it loses
// the rows between in silence, so its identity is fingerprinted.
type Publication struct {
	Name      string
	Exists    bool
	OID       uint32
	Xmin      uint32
	AllTables bool
	Insert    bool
	Update    bool
	Delete    bool
	Truncate  bool
	ViaRoot   bool
	Entries   []PublicationEntry
}

// PublicationEntry is one table of a publication.
type PublicationEntry struct {
	Table       string // schema.table
	OID         uint32 // of the pg_publication_rel row; 0 when through FOR ALL TABLES or a schema
	Xmin        uint32
	TableOID    uint32
	Persistence string // p permanent, u unlogged, t temporary
	Filter      string // row filter, "" none
	Columns     string // column list, "" all
}

// Fingerprint names what must stay the same for the stream to have no hole. It
// is readable, so that two of them can be compared by eye.
func (p *Publication) Fingerprint() string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s:%d/%d", p.Name, p.OID, p.Xmin)
	for _, e := range p.Entries {
		fmt.Fprintf(&b, " %s:%d/%d/%d/%s", e.Table, e.OID, e.Xmin, e.TableOID, e.Persistence)
	}
	return b.String()
}

// Table is a table the pipeline is to read, as the catalogue knows it.
type Table struct {
	Name        string // schema.table
	Exists      bool
	OID         uint32
	Persistence string
	Partitioned bool
	CanSelect   bool
	Owned       bool // by our role: only an owner puts a table into a publication
	Columns     []string
	// Types are the types of the columns as format_type prints them, without
	// their length, that of a domain by what it is made of; TypeGenerated for a
	// generated column.
	Types map[string]string
}

// TypeGenerated stands for the type of a generated column: logical replication
// does not send it.
const TypeGenerated = "generated"
