package main

// Rules are the clauses of the protocol that can be left out. The zero value is
// the design; every field is one mutation of it.
type Rules struct {
	// Of the start.
	FenceBeforeLook  bool // a relay fences before it looks whose checkpoint this is
	BelieveNone      bool // the look takes "nothing visible" for "nothing there"
	FenceBeforeTake  bool // a relay fences before it has the slot
	ParallelFencing  bool // the ids are fenced in any order
	DescendingFence  bool // id 1 is fenced before id 0
	LazyFencing      bool // id 1 is fenced at its first use
	NoFence          bool // both ids are fenced at their first use
	FirstOnOtherID   bool // the first transaction after a start uses id 1
	FewerIDsFenced   bool // more ids in the record than in the configuration: not fenced
	EndBeforeFence   bool // the end to read up to is asked before the fence
	ReadToLSO        bool // the read ends at the last stable offset
	ReadUncommitted  bool // the checkpoint is read read_uncommitted
	HighestLSN       bool // of several checkpoints the highest LSN wins, not the highest offset
	NoLastSelect     bool // the slot is not asked again before streaming (active_pid, confirmed_flush)
	PositionNotOwner bool // a slot that nobody holds any more is judged by its position: refused when ahead
	NoIntent         bool // the first start makes the slot without an intent
	GoneByLook       bool // "no slot" is believed after two looks at the visible checkpoint
	DropBlindly      bool // recreate drops the slot by its name, whatever became of it

	// Of the stream.
	DropBySafe      bool // rows are dropped by safe instead of last
	AckBeforeCommit bool // Postgres is told before the commit returned
	NoCheckpoint    bool // the transaction carries no checkpoint
	KeepConnection  bool // a recovery keeps the replication connection
	Redo            bool // a batch whose outcome is unknown is produced again on the same producer
	Overlap         bool // batch n+1 begins before the commit of n returned

	// Of requests that arrive late.
	TrustRetriedCommit bool // a commit that may have been asked for twice is like any other
	RenewInPlace       bool // after such a commit its id is initialised again, without a recovery
	Unverified         bool // the broker takes a Produce whose transaction is not open (before 3.6)
	LateMarkers        bool // the markers a coordinator has a broker write may arrive twice, too
}

// unbounded is a Budget that never ends: the fault can happen in every state.
const unbounded = 255

// Budget bounds how often each fault happens on one path; unbounded costs no
// state, a number is part of it.
type Budget struct {
	Crash   uint8 // a relay loses its memory, in any state
	Kill    uint8 // the walsender ends, or its lock on the first start; the relay does not know
	Lost    uint8 // EndTxn stays in flight, or its answer is lost: the client gives up
	Timeout uint8 // the broker aborts an open transaction
	PGCrash uint8 // Postgres stops at once: confirmed_flush goes back
	Other   uint8 // another pipeline opens a transaction on the checkpoint partition
	Late    uint8 // requests outlive the library's own retry; counted are the commits asked for twice
}

// Config is one bounded world.
type Config struct {
	Name     string
	What     string       // for people
	Txns     []uint8      // rows of each transaction in the WAL
	Split    bool         // a batch may end inside a transaction
	Relays   int          // 1 or 2
	IDs      [2]uint8     // transactional ids of each relay's configuration
	Budget   Budget       // faults
	First    bool         // neither slot nor checkpoint exist, the WAL grows
	Rebase   bool         // an older checkpoint with a higher LSN lies before the last
	Alien    bool         // the second relay belongs to another Postgres
	Recreate bool         // the second relay is the command slots recreate, run once
	start    func(*State) // changes the first state; nil: none
}

// symmetric reports whether the two relays can be exchanged.
func (c *Config) symmetric() bool {
	return c.Relays == 2 && !c.Alien && !c.Recreate && c.IDs[0] == c.IDs[1]
}
