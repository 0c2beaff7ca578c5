package main

const u = unbounded

var (
	bothTwo = [2]uint8{2, 2}
	all     = Budget{Crash: u, Kill: u, Lost: u, Timeout: u, PGCrash: u, Other: u, Late: u}
)

// configurations are the worlds the design is checked in. Each looks at one
// thing closely, so that none is too large.
var configurations = []Config{
	{Name: "alone", What: "one relay, three transactions, one of them cut in two by its size; every fault in any state",
		Txns: []uint8{2, 1, 1}, Split: true, Relays: 1, IDs: bothTwo, Budget: all},
	{Name: "takeover", What: "two relays, two transactions, one of them cut; every fault in any state",
		Txns: []uint8{2, 1}, Split: true, Relays: 2, IDs: bothTwo, Budget: all},
	{Name: "three", What: "two relays, three transactions; crashes, lost walsenders, broker timeouts and late requests in any state",
		Txns: []uint8{1, 1, 1}, Relays: 2, IDs: bothTwo, Budget: Budget{Crash: u, Kill: u, Timeout: u, Late: u}},
	{Name: "pair", What: "two relays, two transactions; every fault in any state",
		Txns: []uint8{1, 1}, Relays: 2, IDs: bothTwo, Budget: all},
	{Name: "ids", What: "one relay with two ids, the other with one; every fault in any state",
		Txns: []uint8{1, 1}, Relays: 2, IDs: [2]uint8{2, 1}, Budget: all},
	{Name: "first-start", What: "neither slot nor checkpoint, two relays, a service commits meanwhile; every fault in any state",
		Txns: []uint8{1}, Relays: 2, IDs: bothTwo, First: true, Budget: all},
	{Name: "recreate", What: "slots recreate runs once beside a relay, services commit meanwhile; every fault but Postgres' in any state",
		Txns: []uint8{1, 1}, Relays: 2, IDs: bothTwo, Recreate: true, Budget: Budget{Crash: u, Kill: u, Lost: u, Timeout: u, Late: u}, start: grows},
	{Name: "rebase", What: "the last checkpoint has a lower LSN than one before it; every fault but Postgres' in any state",
		Txns: []uint8{1, 1}, Relays: 2, IDs: bothTwo, Rebase: true, Budget: Budget{Crash: u, Kill: u, Lost: u, Timeout: u, Late: u}, start: rebased},
	{Name: "foreign", What: "a relay of another Postgres with the same name starts while our first checkpoint is not visible yet",
		Txns: []uint8{1, 1}, Relays: 2, IDs: bothTwo, Alien: true, Budget: all, start: hidden},
}

// rebased begins after `checkpoint rebase`: a failover undid what was published
// after LSN 0, the new timeline's rows come below the old checkpoint's LSN.
func rebased(s *State) {
	s.Old = checkpoint(2, 4, 2, streaming)
}

// hidden begins when relay A has committed its first checkpoint, and another
// pipeline's transaction holds the last stable offset below it.
func hidden(s *State) {
	s.Ckpt[0] = ofAnother
	s.Ckpt[1] = s.Base
	s.Base = 0
	s.Owner, s.Holder = who(0), [2]uint8{who(0), who(0)}
	s.R[0] = Relay{PC: pcStream, Took: true, Has: 3, From: 1}
}

// grows begins with an empty WAL.
func grows(s *State) { s.WAL = 0 }

// mutant leaves a clause out.
type mutant struct {
	Name, What string
	In         string // configuration
	Rules      Rules
	Ignore     property // not looked for; holds: look for everything
}

// mutants have to be found.
var mutants = []mutant{
	{Name: "fewer-ids-fenced", In: "ids", Rules: Rules{FewerIDsFenced: true}, What: "the record names two ids, one is fenced"},
	{Name: "first-on-other-id", In: "ids", Rules: Rules{FirstOnOtherID: true}, What: "the first transaction after a start uses id 1"},
	{Name: "lazy-fencing", In: "pair", Rules: Rules{LazyFencing: true}, What: "id 1 is fenced at its first use"},
	{Name: "no-fence", In: "pair", Rules: Rules{NoFence: true}, What: "each id is initialised at its first use only"},
	{Name: "parallel-fencing", In: "pair", Rules: Rules{ParallelFencing: true, NoLastSelect: true}, What: "the ids are fenced in any order, and the last SELECT is left out"},
	{Name: "descending-fencing", In: "pair", Rules: Rules{DescendingFence: true, NoLastSelect: true}, What: "id 1 is fenced before id 0, and the last SELECT is left out"},
	{Name: "first-on-other-id-without-select", In: "pair", Rules: Rules{FirstOnOtherID: true, NoLastSelect: true}, What: "as first-on-other-id with equal configurations, and the last SELECT is left out"},
	{Name: "end-before-fence", In: "pair", Rules: Rules{EndBeforeFence: true}, What: "the end to read up to is asked before the fence"},
	{Name: "read-to-lso", In: "pair", Rules: Rules{ReadToLSO: true}, Ignore: refusal, What: "the read ends at the last stable offset"},
	{Name: "read-uncommitted", In: "pair", Rules: Rules{ReadUncommitted: true}, What: "the checkpoint is read read_uncommitted"},
	{Name: "highest-lsn", In: "rebase", Rules: Rules{HighestLSN: true}, What: "the highest LSN wins, not the highest offset"},
	{Name: "drop-by-safe", In: "pair", Rules: Rules{DropBySafe: true}, What: "rows are dropped by safe, not by last"},
	{Name: "ack-before-commit", In: "alone", Rules: Rules{AckBeforeCommit: true}, What: "Postgres is told before the commit returned"},
	{Name: "no-checkpoint", In: "alone", Rules: Rules{NoCheckpoint: true}, Ignore: partial, What: "the transaction carries no checkpoint"},
	{Name: "keep-connection", In: "alone", Rules: Rules{KeepConnection: true}, What: "a recovery keeps the replication connection"},
	{Name: "redo", In: "alone", Rules: Rules{Redo: true}, What: "a batch whose outcome is unknown is produced again, without a recovery"},
	{Name: "overlap", In: "pair", Rules: Rules{Overlap: true}, What: "batch n+1 begins before the commit of n returned"},
	{Name: "commit-asked-twice", In: "alone", Rules: Rules{TrustRetriedCommit: true}, What: "a commit that may have been asked for twice is like any other"},
	{Name: "renew-in-place", In: "ids", Rules: Rules{RenewInPlace: true}, What: "after such a commit its id is initialised again, without a recovery"},
	{Name: "unverified-produce", In: "alone", Rules: Rules{Unverified: true}, What: "of the broker: it takes a Produce whose transaction is not open"},
	{Name: "late-marker", In: "alone", Rules: Rules{LateMarkers: true}, What: "of the broker: a marker it asked for twice is written twice, the second time in a later transaction"},
	{Name: "no-intent", In: "first-start", Rules: Rules{NoIntent: true}, What: "the first start makes the slot without an intent"},
	{Name: "gone-by-look", In: "recreate", Rules: Rules{GoneByLook: true}, What: "a slot is believed to be gone after two looks at the visible checkpoint"},
	{Name: "drop-blindly", In: "recreate", Rules: Rules{DropBlindly: true}, What: "recreate drops the slot by its name, whatever became of it meanwhile"},
	{Name: "fence-before-take", In: "pair", Rules: Rules{FenceBeforeTake: true}, What: "a standby fences before it has the slot"},
	{Name: "fence-before-look", In: "foreign", Rules: Rules{FenceBeforeLook: true}, What: "a foreign relay fences before it looks"},
	{Name: "believe-none", In: "foreign", Rules: Rules{BelieveNone: true}, What: "nothing visible is taken for nothing there"},
	{Name: "position-before-owner", In: "pair", Rules: Rules{PositionNotOwner: true}, What: "a slot nobody holds any more is judged by its position"},
}

// covered are clauses of which the model shows that another one covers them:
// left out alone, everything still holds. They are kept as a second net.
var covered = []mutant{
	{Name: "parallel-fencing", In: "pair", Rules: Rules{ParallelFencing: true}, What: "the last SELECT covers it"},
	{Name: "descending-fencing", In: "pair", Rules: Rules{DescendingFence: true}, What: "the last SELECT covers it"},
	{Name: "no-last-select", In: "pair", Rules: Rules{NoLastSelect: true}, What: "the order of the fences and the first id cover it"},
	{Name: "fence-before-take", In: "pair", Rules: Rules{FenceBeforeTake: true}, Ignore: disturbed, What: "exactly once all the same; it only disturbs"},
}
