package replication

import (
	"errors"
	"fmt"
	"slices"

	"github.com/cdc-relay/cdc-relay/internal/event"
)

// outcome is what became of one pgoutput message.
type outcome uint8

const (
	emitted outcome = iota // m was filled
	silent                 // told us something (relation, type, origin), is no change
	// Changes that are counted and skipped:
	skippedUpdate
	skippedDelete
	skippedTruncate
	skippedForeign // insert into a table that is not ours
	skippedMessage // logical message of another prefix
	skippedLoose   // non-transactional logical message: no event, it survives a rollback
	outcomes
)

// tracker turns pgoutput messages into event.Msg. It is pure: no clock, no I/O.
//
// Order of messages: B (R|Y|O|I|U|D|T|M)* C. Non-transactional M may stand
// between transactions.
//
// Invariant: an ordinal is the position among ALL changes the server sent
// between B and C, counted before any filter of ours.
type tracker struct {
	oids   map[uint32]string // tables of ours by what the catalogue said when the stream began
	names  map[string]bool   // the same by configured name
	prefix string            // of logical messages that are rows; "" none

	rels map[uint32]*relation
	last *relation // of the last insert: rows come in runs
	cols [][]byte

	inTx bool
	pos  event.Position
	time int64
	xid  uint32
	prev event.LSN // commit LSN of the transaction before

	// announced is called for every relation of ours whose shape or name is
	// new; old is nil the first time.
	announced func(old, now *event.Relation)
}

type relation struct {
	*event.Relation
	ours bool
}

// read digests one pgoutput message. m is written only if it is emitted; its
// slices alias body.
func (t *tracker) read(body []byte, m *event.Msg) (outcome, error) {
	if len(body) == 0 {
		return silent, &Malformed{What: "empty message"}
	}
	switch body[0] {
	case 'I':
		return t.insert(body, m)
	case 'B':
		return t.begin(body, m)
	case 'C':
		return t.commit(body, m)
	case 'R':
		return silent, t.relation(body)
	case 'U':
		return skippedUpdate, t.change(body)
	case 'D':
		return skippedDelete, t.change(body)
	case 'T':
		return skippedTruncate, t.change(body)
	case 'M':
		return t.message(body, m)
	case 'Y', 'O':
		return silent, nil
	}
	return silent, &Malformed{Message: body[0], What: "unknown type of message"}
}

func (t *tracker) begin(body []byte, m *event.Msg) (outcome, error) {
	b, err := decodeBegin(body)
	if err != nil {
		return silent, err
	}
	if t.inTx {
		return silent, &Malformed{Message: 'B', What: fmt.Sprintf("BEGIN of %s inside the transaction %s", b.Commit, t.pos.Commit)}
	}
	if b.Commit <= t.prev {
		return silent, &Malformed{Message: 'B', What: fmt.Sprintf("transaction %s after %s: not in commit order", b.Commit, t.prev)}
	}
	t.inTx, t.pos, t.time, t.xid = true, event.Position{Commit: b.Commit}, b.Time, b.XID
	*m = event.Msg{Kind: event.Begin, Pos: t.pos, Time: t.time, XID: t.xid}
	return emitted, nil
}

func (t *tracker) commit(body []byte, m *event.Msg) (outcome, error) {
	c, err := decodeCommit(body)
	if err != nil {
		return silent, err
	}
	if !t.inTx || c.Commit != t.pos.Commit {
		return silent, &Malformed{Message: 'C', What: fmt.Sprintf("COMMIT of %s, the open transaction is %s", c.Commit, t.open())}
	}
	if c.End <= c.Commit {
		return silent, &Malformed{Message: 'C', What: fmt.Sprintf("COMMIT at %s ends at %s", c.Commit, c.End)}
	}
	*m = event.Msg{Kind: event.Commit, Pos: t.pos, End: c.End, Time: t.time, XID: t.xid}
	t.inTx, t.prev = false, c.Commit
	return emitted, nil
}

func (t *tracker) open() string {
	if !t.inTx {
		return "none"
	}
	return t.pos.Commit.String()
}

// change counts one change of the transaction.
func (t *tracker) change(body []byte) error {
	if !t.inTx {
		return &Malformed{Message: body[0], What: "a change outside of a transaction"}
	}
	t.pos.Ord++
	return nil
}

func (t *tracker) insert(body []byte, m *event.Msg) (outcome, error) {
	if err := t.change(body); err != nil {
		return silent, err
	}
	oid, err := decodeInsertHead(body)
	if err != nil {
		return silent, err
	}
	rel := t.last
	if rel == nil || rel.OID != oid {
		if rel = t.rels[oid]; rel == nil {
			return silent, &Malformed{Message: 'I', Offset: 1, What: fmt.Sprintf("relation %d was never announced", oid)}
		}
		t.last = rel
	}
	if !rel.ours {
		return skippedForeign, nil
	}
	t.cols, err = decodeInsertTuple(body, t.cols[:0])
	if err != nil {
		return silent, t.badRow(rel, err)
	}
	if len(t.cols) != len(rel.Columns) {
		return silent, t.badRow(rel, &Malformed{Message: 'I', Offset: insertTuple,
			What: fmt.Sprintf("%d columns, %d were announced", len(t.cols), len(rel.Columns))})
	}
	*m = event.Msg{Kind: event.Row, Pos: t.pos, Time: t.time, XID: t.xid, Rel: rel.Relation, Cols: t.cols}
	return emitted, nil
}

// badRow names the row in err. It does not wrap: the text of a wrapped error is
// fixed before the LSN is known (see at).
func (t *tracker) badRow(rel *relation, err error) error {
	if bad, ok := errors.AsType[*Malformed](err); ok {
		bad.Row = fmt.Sprintf("row %s of %s", t.pos, rel.Name())
	}
	return err
}

func (t *tracker) message(body []byte, m *event.Msg) (outcome, error) {
	l, err := decodeLogical(body)
	if err != nil {
		return silent, err
	}
	if !l.Transactional {
		return skippedLoose, nil
	}
	if err := t.change(body); err != nil {
		return silent, err
	}
	if t.prefix == "" || string(l.Prefix) != t.prefix {
		return skippedMessage, nil
	}
	*m = event.Msg{Kind: event.Row, Pos: t.pos, Time: t.time, XID: t.xid, Prefix: t.prefix, Content: l.Content}
	return emitted, nil
}

// relation keeps what was announced. The publication follows a table by OID, so
// we do: a table that is renamed while we stream stays ours under its new name.
// One that has a configured name is ours too, whatever its OID: it may be the
// dropped predecessor of today's table, whose rows are still to come.
func (t *tracker) relation(body []byte) error {
	now, err := decodeRelation(body)
	if err != nil {
		return err
	}
	if t.rels == nil {
		t.rels = map[uint32]*relation{}
	}
	old := t.rels[now.OID]
	if old != nil && sameShape(old.Relation, now) {
		return nil // the pointer stays: it is the key of the transformer's cache
	}
	_, ours := t.oids[now.OID]
	rel := &relation{Relation: now, ours: ours || t.names[now.Name()]}
	if old != nil {
		rel.ours = rel.ours || old.ours
	}
	t.rels[now.OID], t.last = rel, nil
	if !rel.ours || t.announced == nil {
		return nil
	}
	if old == nil {
		t.announced(nil, now)
	} else {
		t.announced(old.Relation, now)
	}
	return nil
}

func sameShape(a, b *event.Relation) bool {
	return a.OID == b.OID && a.Schema == b.Schema && a.Table == b.Table && slices.Equal(a.Columns, b.Columns)
}

// at adds the LSN to err if it is Malformed. Call it before err is wrapped.
func at(err error, lsn event.LSN) error {
	if bad, ok := errors.AsType[*Malformed](err); ok && bad.LSN == 0 {
		bad.LSN = lsn
	}
	return err
}
