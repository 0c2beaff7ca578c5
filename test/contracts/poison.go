package contracts

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"

	"github.com/cdc-relay/cdc-relay/test/rig"
)

const scoreContract = `defaults: {encoding: avro, key: [aggregate_id], on_error: dead_letter_and_hold_key}
events:
  - {type: score.given, topic: PREFIX.score.given, schema: ScoreGiven, topic_class: few}
topic_classes:
  few: {partitions: 6, cleanup.policy: delete}
`

// scoreSchema is the schema with a bound that poisoned events break.
func scoreSchema(maximum string) string {
	return `{"type": "record", "name": "ScoreGivenV1", "namespace": "contracts", "fields": [
  {"name": "seq", "type": "int"},
  {"name": "score", "type": "double", "minimum": 0, "maximum": ` + maximum + `}]}
`
}

// score is an event of the truth.
type score struct {
	key   string
	seq   int  // of its key, from 1
	alone bool // it breaks the schema
	after bool // an event of its key before it did
}

// poisonKeys is how many keys the events have: few enough that each has many.
const poisonKeys = 4000

// Poison drains n events of which one in a hundred breaks its schema, under
// kills SIGKILLs, mends the schema and redrives.
func Poison(ctx context.Context, p *Parts, n, kills, seed int, r *Report) (err error) {
	dir := filepath.Join(p.Dir, "poison", "avro")
	if err := errors.Join(os.RemoveAll(dir), os.MkdirAll(dir, 0o755)); err != nil {
		return err
	}
	schema := filepath.Join(dir, "ScoreGivenV1.avsc")
	if err := os.WriteFile(schema, []byte(scoreSchema("1")), 0o600); err != nil {
		return err
	}
	l, err := p.lab(ctx, "poison", rig.Config{Contract: scoreContract, Schemas: dir, Extra: noShare,
		Kafka: map[string]string{"transaction.timeout.ms": "10000"}})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, l.close(ctx)) }()
	d := &poisoned{lab: l, report: r, truth: map[string]score{}}
	if err := d.write(ctx, n, seed); err != nil {
		return err
	}
	if err := d.drain(ctx, kills); err != nil {
		return err
	}
	if err := os.WriteFile(schema, []byte(scoreSchema("2")), 0o600); err != nil {
		return err
	}
	return d.redrive(ctx)
}

// poisoned is one such drain.
type poisoned struct {
	*lab
	report  *Report
	truth   map[string]score // by event id
	clean   int              // events that come before any poison of their key
	relay   *rig.Relay
	events  *rig.Reader
	letters *rig.Reader
}

// write has a relay make its slot, ends it, and writes n events.
func (d *poisoned) write(ctx context.Context, n, seed int) error {
	relay, err := d.start()
	if err != nil {
		return err
	}
	defer relay.Kill()
	if err := relay.Ready(ctx); err != nil {
		return err
	}
	if code, err := relay.Stop(ctx); code != 0 || err != nil {
		return fmt.Errorf("the relay ended with exit code %d: %w", code, err)
	}
	dice := rand.New(rand.NewPCG(uint64(seed), 1)) //nolint:gosec // repeatable by its seed
	seq, held := map[string]int{}, map[string]bool{}
	for done := 0; done < n; {
		var rows [][]any
		for range min(100, n-done) {
			e := score{key: fmt.Sprintf("k%d", dice.IntN(min(poisonKeys, max(n/25, 1))))}
			seq[e.key]++
			e.seq, e.after, e.alone = seq[e.key], held[e.key], dice.IntN(100) == 0
			value := "0.5"
			if e.alone {
				value, held[e.key] = "1.2", true
			}
			if !held[e.key] {
				d.clean++
			}
			id := uuid.NewString()
			d.truth[id] = e
			rows = append(rows, []any{id, "essay", e.key, "score.given", json.RawMessage(fmt.Sprintf(`{"seq":%d,"score":%s}`, e.seq, value))})
		}
		_, err := d.db.CopyFrom(ctx, pgx.Identifier{"cdc_relay", "outbox"},
			[]string{"id", "aggregate_type", "aggregate_id", "event_type", "payload"}, pgx.CopyFromRows(rows))
		if err != nil {
			return err
		}
		done += len(rows)
	}
	d.report.PoisonEvents = n
	d.say("poison: %d events are committed, %d of them come before any that breaks the schema of their key", n, d.clean)
	return nil
}

// drain runs the relay, kills it now and then, and accounts for every event.
func (d *poisoned) drain(ctx context.Context, kills int) (err error) {
	letters, err := d.lab.letters(ctx)
	if err != nil {
		return err
	}
	bootstrap := d.Stack.Kafka().Bootstrap()
	if d.events, err = rig.NewReader(bootstrap, d.name+".score.given"); err != nil {
		return err
	}
	if d.letters, err = rig.NewReader(bootstrap, letters); err != nil {
		return err
	}
	if d.relay, err = d.start(); err != nil {
		return err
	}
	for i := range kills {
		if err := until(ctx, d.relay, d.events, d.clean*(i+1)/(kills+2)); err != nil {
			return err
		}
		d.relay.Kill()
		d.report.PoisonKills++
		if d.relay, err = d.start(); err != nil {
			return err
		}
	}
	n := len(d.truth)
	if err := errors.Join(until(ctx, d.relay, d.events, d.clean), until(ctx, d.relay, d.letters, n-d.clean)); err != nil {
		return err
	}
	if err := errors.Join(d.events.Settle(ctx, time.Second), d.letters.Settle(ctx, time.Second)); err != nil {
		return err
	}
	d.report.PoisonDelivered, d.report.PoisonDeadLetters = len(d.events.All), len(d.letters.All)
	d.say("poison: %d delivered and %d dead letters after %d kills", len(d.events.All), len(d.letters.All), kills)
	return d.accounted()
}

// accounted demands that each event is where it belongs, once.
func (d *poisoned) accounted() error {
	seen := map[string]bool{}
	for _, rec := range d.events.All {
		e, ok := d.truth[rec.Headers["event_id"]]
		if id := rec.Headers["event_id"]; !ok || e.alone || e.after || seen[id] {
			return fmt.Errorf("event %s (%+v) was delivered and should not have been, or twice", id, e)
		}
		seen[rec.Headers["event_id"]] = true
	}
	for _, rec := range d.letters.All {
		id := rec.Headers["cdc_dlq_row_id"]
		e, ok := d.truth[id]
		if !ok || !e.alone && !e.after || seen[id] {
			return fmt.Errorf("event %s (%+v) is a dead letter and should not be, or twice", id, e)
		}
		seen[id] = true
	}
	if len(seen) != len(d.truth) {
		return fmt.Errorf("%d events are nowhere", len(d.truth)-len(seen))
	}
	return nil
}

// redrive starts the relay again, with the mended schema, and redrives all.
func (d *poisoned) redrive(ctx context.Context) error {
	defer d.events.Close()
	defer d.letters.Close()
	code, err := d.relay.Stop(ctx)
	if code != 0 || err != nil {
		return fmt.Errorf("the relay ended with exit code %d: %w", code, err)
	}
	if d.relay, err = d.start(); err != nil {
		return err
	}
	defer func() { d.relay.Kill() }()
	if err := d.relay.Ready(ctx); err != nil {
		return err
	}
	if _, err := d.verb(ctx, "dlq", "redrive", "--all"); err != nil {
		return err
	}
	if err := until(ctx, d.relay, d.events, len(d.truth)); err != nil {
		return err
	}
	if err := d.events.Settle(ctx, 2*time.Second); err != nil {
		return err
	}
	seen, last := map[string]bool{}, map[string]int{}
	for _, rec := range d.events.All {
		id := rec.Headers["event_id"]
		e, ok := d.truth[id]
		if !ok || seen[id] {
			return fmt.Errorf("event %s was never written, or comes twice", id)
		}
		seen[id] = true
		if e.seq != last[e.key]+1 {
			d.report.PoisonOutOfOrder++
		}
		last[e.key] = e.seq
	}
	d.report.PoisonAfterRedrive = len(seen)
	d.say("poison: %d delivered after the redrive, %d out of order", len(seen), d.report.PoisonOutOfOrder)
	if len(seen) != len(d.truth) || d.report.PoisonOutOfOrder > 0 {
		return fmt.Errorf("%d of %d events are delivered, %d out of order", len(seen), len(d.truth), d.report.PoisonOutOfOrder)
	}
	return nil
}
