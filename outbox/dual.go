package outbox

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"

	"github.com/jackc/pgx/v5"
)

// headerCorrelation is the standard header of the correlation id.
const headerCorrelation = "correlation_id"

// Dual is a pair of events about one thing: a thin one for those who steer the
// flow, a rich one for those who need the data. The relay never cuts a Postgres
// transaction, so they become visible in Kafka together or not at all.
type Dual struct {
	Thin, Rich Event
	// CorrelationID becomes the header correlation_id of both. "": the one the
	// events carry, in Headers or as correlation_id of their Payload; if they
	// carry none, a new UUID, filled in. An event that carries another is an
	// *EventError.
	CorrelationID string
	// Key is the key of both records, unless an event has a Key of its own. "":
	// the contract decides.
	Key string
}

// PublishDual writes the pair within tx. What d leaves open (ids, times, the
// correlation id) is filled in.
func PublishDual(ctx context.Context, tx pgx.Tx, d *Dual) error {
	return d.publish(pgxExec(ctx, tx, insert))
}

// PublishDualSQL is PublishDual for database/sql, with any Postgres driver.
func PublishDualSQL(ctx context.Context, tx SQLTx, d *Dual) error {
	return d.publish(sqlExec(ctx, tx, insert))
}

func (d *Dual) publish(exec func(args ...any) error) error {
	events := []Event{d.Thin, d.Rich}
	if err := d.correlate(events); err != nil {
		return err
	}
	for i := range events {
		if events[i].Key == "" {
			events[i].Key = d.Key
		}
	}
	if err := publish(events, "insert", exec); err != nil {
		return err
	}
	d.Thin, d.Rich = events[0], events[1]
	return nil
}

// correlate finds the one correlation id of the pair and writes it into the
// headers of both events.
func (d *Dual) correlate(events []Event) error {
	one := d.CorrelationID
	for i := range events {
		e := &events[i]
		for _, place := range []struct{ field, id string }{{"Headers", e.Headers[headerCorrelation]}, {"Payload", correlationIn(e.Payload)}} {
			if one == "" {
				one = place.id
			}
			if place.id != "" && place.id != one {
				return &EventError{Index: i, Type: e.Type, Field: place.field,
					Reason: fmt.Sprintf("has the correlation_id %q, that of the pair is %q", place.id, one)}
			}
		}
	}
	if one == "" {
		one = NewID().String()
	}
	d.CorrelationID = one
	for i := range events {
		headers := maps.Clone(events[i].Headers) // the caller's map stays as it is
		if headers == nil {
			headers = map[string]string{}
		}
		headers[headerCorrelation] = one
		events[i].Headers = headers
	}
	return nil
}

// correlationIn is the correlation_id of a payload; "" when there is none, or
// the payload is not what it should be, which is found out later.
func correlationIn(payload any) string {
	raw, err := payloadOf(payload)
	if err != nil {
		return ""
	}
	var p struct {
		CorrelationID json.RawMessage `json:"correlation_id"`
	}
	var id string
	if json.Unmarshal(raw, &p) != nil || json.Unmarshal(p.CorrelationID, &id) != nil {
		return ""
	}
	return id
}
