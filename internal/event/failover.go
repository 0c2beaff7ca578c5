package event

// Failover is what a server says about its standbys, or, while it is in
// recovery, about itself as one. Doctor judges it; no start depends on it.
type Failover struct {
	Known bool // it was asked

	// Of a primary.
	Named    []string  // synchronized_standby_slots, from 17
	Standbys []Replica // those that stream, and physical slots nobody streams from
	// SlotWorker says whether a standby's worker that keeps failover slots in
	// step is connected: "yes", "no", or "unknown" to a role that may not see it.
	SlotWorker string

	// Of a standby.
	SyncSlots    string // sync_replication_slots; "" before 17
	Feedback     bool   // hot_standby_feedback
	PrimarySlot  string // primary_slot_name
	PrimaryNoDB  bool   // primary_conninfo has no dbname, as far as the role may see
	Received     LSN    // how far it has the log
	ReceiverLost bool   // no walreceiver is connected
}

// Replica is a physical standby as its primary sees it.
type Replica struct {
	Slot     string `json:"slot"`     // its physical slot; "" none
	Name     string `json:"name"`     // application_name; "" not connected, or hidden from the role
	Active   bool   `json:"active"`   // it streams
	Feedback bool   `json:"feedback"` // its oldest transaction is known: hot_standby_feedback
	Flush    LSN    `json:"flush"`    // how far it has the log; 0 not known
}
