package consumer

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"strings"
	"unicode/utf8"

	"github.com/jackc/pgx/v5"
	"github.com/prometheus/client_golang/prometheus"
)

// Options say who claims events.
type Options struct {
	// Group is who claims: the consumer group's name, or, where one group does
	// different work with one event (it reads both topics of an `also` and
	// wants both), a name for each. Required. Changing it makes every event new.
	Group string
	// Service is the label of the metric; "": Group.
	Service string
	// Registerer gets the metric kafka_duplicate_events_total; nil: none. Two
	// inboxes may share it.
	Registerer prometheus.Registerer
	// PerTopic makes the topic a part of what identifies an event. Needed where
	// ids are not UUIDs, as the row numbers of two services' tables are not. The
	// same event in two topics is then two events.
	PerTopic bool
	// EventID finds the id of an event that has none in its headers, as in its
	// value; nil: such an event is an error.
	EventID func(Message) string
}

// Inbox claims events for one consumer group. It is safe for concurrent use.
type Inbox struct {
	opts       Options
	duplicates prometheus.Counter // nil: not wanted
}

// method is the label deduplication_method: by event id, in a table.
const method = "inbox"

// New makes an Inbox. It connects to nothing.
func New(o Options) (*Inbox, error) {
	if o.Group == "" || !isText(o.Group) {
		return nil, fmt.Errorf("consumer: Options.Group is %q; give the name of the consumer group", o.Group)
	}
	if o.Service == "" {
		o.Service = o.Group
	}
	i := &Inbox{opts: o}
	if o.Registerer == nil {
		return i, nil
	}
	vec := prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "kafka_duplicate_events_total",
		Help: "Events that came again and were not processed again.",
	}, []string{"service", "consumer_group", "deduplication_method"})
	if err := o.Registerer.Register(vec); err != nil {
		if vec = existing(err); vec == nil {
			return nil, fmt.Errorf("consumer: register kafka_duplicate_events_total: %w", err)
		}
	}
	counter, err := vec.GetMetricWithLabelValues(o.Service, o.Group, method)
	if err != nil {
		return nil, fmt.Errorf("consumer: register kafka_duplicate_events_total: %w", err)
	}
	i.duplicates = counter
	return i, nil
}

// existing is the vector that another Inbox has registered, if err says so.
func existing(err error) *prometheus.CounterVec {
	if e, ok := errors.AsType[prometheus.AlreadyRegisteredError](err); ok {
		vec, _ := e.ExistingCollector.(*prometheus.CounterVec)
		return vec
	}
	return nil
}

// EventIDError is of a record that cannot be claimed, because it does not say
// which event it is. The database was not asked. Coming again does not change
// it: put it aside.
type EventIDError struct {
	Message Message
	Reason  string
}

func (e *EventIDError) Error() string {
	return fmt.Sprintf("consumer: record %s: %s", e.Message, e.Reason)
}

// id is what identifies the event of m in the table.
func (i *Inbox) id(m Message) (string, error) {
	id := m.Headers.EventID()
	if id == "" && i.opts.EventID != nil {
		id = i.opts.EventID(m)
	}
	switch {
	case id == "":
		return "", &EventIDError{m, "no header event_id (or id); turn the event's headers on in the contract of the relay, or give Options.EventID"}
	case len(id) > maxID:
		return "", &EventIDError{m, fmt.Sprintf("the event id has %d bytes, more than %d", len(id), maxID)}
	case !isText(id):
		return "", &EventIDError{m, fmt.Sprintf("the event id %.60q holds a zero byte or is not UTF-8", id)}
	case i.opts.PerTopic:
		id = m.Topic + "/" + id
	}
	return id, nil
}

// maxID bounds an event id, in bytes: an index of Postgres does not take
// entries much longer than 2 KB.
const maxID = 1024

func isText(s string) bool { return utf8.ValidString(s) && strings.IndexByte(s, 0) < 0 }

const (
	claim    = `select cdc_relay.inbox_claim($1, $2, $3, $4, $5)`
	claimAll = `select cdc_relay.inbox_claim_all($1, $2::text[], $3::text[], $4::integer[], $5::bigint[])`
)

// Once claims the event of m within tx and, unless it was claimed before, calls
// do. duplicate: it was, and do was not called. After an error, of do too, the
// transaction must be rolled back, and the claim goes with it.
//
// While another transaction holds a claim of the same event, Once waits for its
// end, for as long as ctx and Postgres' lock_timeout let it. In a transaction of
// isolation level repeatable read or serializable a claim that was committed in
// between is an error (SQLSTATE 40001): run the transaction again.
//
// tx is what pgx.Conn.Begin or pgxpool.Pool.Begin returned; a pool or a
// connection does not fit, because the claim would be committed before the work.
func (i *Inbox) Once(ctx context.Context, tx pgx.Tx, m Message, do func(context.Context) error) (duplicate bool, err error) {
	return i.once(ctx, m, do, func(args ...any) (first bool, err error) {
		err = tx.QueryRow(ctx, claim, args...).Scan(&first)
		return first, err
	})
}

// SQLTx is a transaction of database/sql: *sql.Tx, or what wraps one. A
// *sql.DB does not fit, because the claim would be committed before the work.
type SQLTx interface {
	QueryRowContext(ctx context.Context, query string, args ...any) *sql.Row
	Commit() error
	Rollback() error
}

// OnceSQL is Once for database/sql, with any Postgres driver.
func (i *Inbox) OnceSQL(ctx context.Context, tx SQLTx, m Message, do func(context.Context) error) (duplicate bool, err error) {
	return i.once(ctx, m, do, func(args ...any) (first bool, err error) {
		err = tx.QueryRowContext(ctx, claim, args...).Scan(&first)
		return first, err
	})
}

func (i *Inbox) once(ctx context.Context, m Message, do func(context.Context) error, ask func(args ...any) (bool, error)) (duplicate bool, err error) {
	id, err := i.id(m)
	if err != nil {
		return false, err
	}
	first, err := ask(i.opts.Group, id, m.Topic, m.Partition, m.Offset)
	if err != nil {
		return false, failed(fmt.Sprintf("claim event %s of record %s", id, m), err)
	}
	if !first {
		i.count(1)
		return true, nil
	}
	return false, do(ctx)
}

// Claim claims many events within tx in one statement, as those of one poll.
// first has an answer for each message, in their order: true, do its work in this
// transaction; false, it is a duplicate, of an earlier message of the call too.
// Otherwise it is as Once.
func (i *Inbox) Claim(ctx context.Context, tx pgx.Tx, messages ...Message) (first []bool, err error) {
	n := len(messages)
	if n == 0 {
		return nil, nil
	}
	ids, topics, partitions, offsets := make([]string, n), make([]string, n), make([]int32, n), make([]int64, n)
	for at, m := range messages {
		if ids[at], err = i.id(m); err != nil {
			return nil, err
		}
		topics[at], partitions[at], offsets[at] = m.Topic, m.Partition, m.Offset
	}
	if err := tx.QueryRow(ctx, claimAll, i.opts.Group, ids, topics, partitions, offsets).Scan(&first); err != nil {
		return nil, failed(fmt.Sprintf("claim %d events from record %s to %s", n, messages[0], messages[n-1]), err)
	}
	again := 0
	for _, f := range first {
		if !f {
			again++
		}
	}
	i.count(again)
	return first, nil
}

func (i *Inbox) count(duplicates int) {
	if i.duplicates != nil {
		i.duplicates.Add(float64(duplicates))
	}
}

// failed words an error of the database with what to do about it.
func failed(what string, err error) error {
	next := ""
	if Retryable(err) {
		return fmt.Errorf("consumer: %s: %w; next: roll back and run the transaction again", what, err)
	}
	switch stateOf(err) {
	case "42883", "42P01", "3F000": // no function, no table, no schema
		next = "; next: consumer.Migrate, or cdc-relay migrate --inbox URL"
	case "42501": // may not
		next = "; next: grant cdc_relay_consumer to the role of this service"
	}
	return fmt.Errorf("consumer: %s: %w%s", what, err, next)
}

// Retryable reports whether the database ended the transaction for the sake of
// another one (SQLSTATE 40001, 40P01): roll back, and run it again. Two instances
// meet so when both have a batch of the same partitions in hand.
func Retryable(err error) bool {
	state := stateOf(err)
	return state == "40001" || state == "40P01"
}

// stateOf is the SQLSTATE of an error. Drivers differ; those we know tell it by
// this method.
func stateOf(err error) string {
	if pg, ok := errors.AsType[interface {
		error
		SQLState() string
	}](err); ok {
		return pg.SQLState()
	}
	return ""
}
