package contracts

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/cdc-relay/cdc-relay/migrations"
	"github.com/cdc-relay/cdc-relay/outbox"
	"github.com/cdc-relay/cdc-relay/test/rig"
	"github.com/cdc-relay/cdc-relay/test/stack"
)

const (
	dualKills   = 4                // SIGKILLs, spread over the drain
	dualWriters = 4                // services that write at the same time
	dualWithin  = 10 * time.Minute // bounds a measurement
)

// dualContract has one partition a topic, so that every Kafka transaction with
// events has a place in both, and can be told by its number.
const dualContract = `unknown_event: stop
events:
  - {type: spellcheck.phase.completed, topic: PREFIX.thin, schema: SpellcheckPhaseCompletedEvent, topic_class: one}
  - {type: essay.spellcheck.completed, topic: PREFIX.rich, schema: EssaySpellcheckCompletedEvent, topic_class: one}
topic_classes:
  one: {partitions: 1, cleanup.policy: delete}
`

// Dual writes n pairs of a thin and a rich event, under SIGKILLs of the relay,
// and demands that a consumer of committed records that has read both topics up
// to a checkpoint, any checkpoint, has both halves of each pair or none. It
// returns how many pairs arrived whole and how many a consumer saw by half at
// some checkpoint, which must be none.
//
// The error is of the surroundings, or says that events were lost, doubled or
// made up.
func Dual(ctx context.Context, s *stack.Stack, binary, dir string, out io.Writer, n int, seed uint64) (pairs, halves int, err error) {
	ctx, cancel := context.WithTimeout(ctx, dualWithin)
	defer cancel()
	d := &dual{s: s, binary: binary, dir: filepath.Join(dir, "dual"), written: map[string]bool{}}
	defer func() { err = errors.Join(err, d.close(ctx)) }()
	if err := d.open(ctx); err != nil {
		return 0, 0, fmt.Errorf("make the surroundings: %w", err)
	}
	if err := d.drain(ctx, n, seed); err != nil {
		return 0, 0, err
	}
	d.watch.close() // nothing comes any more
	v := dualCheck(d.watch.thin, d.watch.rich, d.watch.marks, d.written)
	fmt.Fprintf(out, "dual: %d pairs, %d by half, %d SIGKILLs, %d checkpoints with events\n", v.pairs, v.halves, dualKills, v.marks)
	for _, c := range v.complaints {
		fmt.Fprintln(out, "dual:", c)
	}
	return v.pairs, v.halves, v.err()
}

// dual is one measurement: a database, topics and a relay of its own.
type dual struct {
	s              *stack.Stack
	binary, dir    string
	name, database string
	config         string
	db             *pgxpool.Pool
	log            *os.File
	relay          *rig.Relay
	watch          *dualWatch

	mu      sync.Mutex
	written map[string]bool // correlation id → committed, or rolled back
}

func (d *dual) open(ctx context.Context) error {
	id := strings.ReplaceAll(uuid.NewString(), "-", "")[:8]
	d.name, d.database = "dual-"+id, "dual_"+id
	admin, err := pgx.Connect(ctx, d.s.Postgres().URL("postgres"))
	if err != nil {
		return err
	}
	_, err = admin.Exec(ctx, "create database "+d.database)
	if err := errors.Join(err, admin.Close(ctx)); err != nil {
		return err
	}
	url := d.s.Postgres().URL(d.database)
	if _, err := migrations.Up(ctx, url); err != nil {
		return err
	}
	if d.db, err = pgxpool.New(ctx, url); err != nil {
		return err
	}
	if err := os.MkdirAll(d.dir, 0o755); err != nil {
		return err
	}
	if d.log, err = os.Create(filepath.Join(d.dir, "relay.log")); err != nil {
		return err
	}
	// An odd limit: a batch that were closed by its number would cut pairs.
	d.config, err = rig.Config{Name: d.name, Postgres: url, Bootstrap: d.s.Kafka().Bootstrap(), Registry: d.s.Registry().URL(),
		Kafka: map[string]string{"transaction.timeout.ms": "10000"}, Extra: "batch: {events: 51}\n",
		Contract: strings.ReplaceAll(dualContract, "PREFIX", d.name)}.Write(d.dir)
	if err != nil {
		return err
	}
	d.watch, err = newDualWatch(ctx, d.s.Kafka().Bootstrap(), d.name, d.database)
	return err
}

func (d *dual) close(ctx context.Context) error {
	if d.relay != nil {
		d.relay.Kill()
	}
	if d.watch != nil {
		d.watch.close()
	}
	if d.log != nil {
		_ = d.log.Close() // a copy for people
	}
	if d.db == nil {
		return nil
	}
	d.db.Close()
	return d.s.Postgres().DropDatabase(context.WithoutCancel(ctx), d.database)
}

// start starts the relay and waits until it streams.
func (d *dual) start(ctx context.Context) (err error) {
	if d.relay, err = rig.Start(d.binary, nil, d.log, "-c", d.config, "run"); err != nil {
		return err
	}
	return d.relay.Ready(ctx)
}

// drain writes n pairs, kills the relay while they are under way, and reads
// everything.
func (d *dual) drain(ctx context.Context, n int, seed uint64) error {
	if err := d.start(ctx); err != nil {
		return err
	}
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	var writers sync.WaitGroup
	defer writers.Wait()
	for i := range dualWriters {
		share := n / dualWriters
		if i < n%dualWriters {
			share++
		}
		writers.Go(func() {
			w := dualWriter{dual: d, name: fmt.Sprintf("service-%d", i), rand: rand.New(rand.NewPCG(seed, uint64(i)))} //nolint:gosec // repeatable by its seed
			if err := w.write(ctx, share); err != nil {
				cancel(fmt.Errorf("%s: %w", w.name, err))
			}
		})
	}
	for k := range dualKills {
		if err := d.watch.until(ctx, 2*n*(k+1)/(dualKills+1)); err != nil {
			return err
		}
		d.relay.Kill()
		if err := d.start(ctx); err != nil {
			return fmt.Errorf("after SIGKILL %d: %w", k+1, err)
		}
	}
	writers.Wait()
	if err := context.Cause(ctx); err != nil {
		return err
	}
	if err := d.watch.until(ctx, 2*n); err != nil {
		return err
	}
	code, err := d.relay.Stop(ctx)
	if err != nil || code != 0 {
		return fmt.Errorf("the relay ended with exit code %d (%w):\n%s", code, err, d.relay.Log())
	}
	return d.watch.toTheEnd(ctx)
}

// dualWriter is a service: it writes pairs by Go and by SQL, several in one
// transaction, and rolls some transactions back.
type dualWriter struct {
	*dual
	name string
	rand *rand.Rand
	made int
}

func (w *dualWriter) write(ctx context.Context, n int) error {
	for n > 0 {
		count, back := 1+w.rand.IntN(min(5, n)), w.rand.IntN(9) == 0
		var ids []string
		tx, err := w.db.Begin(ctx)
		if err != nil {
			return err
		}
		for range count {
			id := uuid.NewString()
			ids = append(ids, id)
			if err := w.pair(ctx, tx, id); err != nil {
				return errors.Join(err, tx.Rollback(context.WithoutCancel(ctx)))
			}
		}
		end := tx.Commit
		if back {
			end = tx.Rollback
		}
		w.note(ids, !back) // before: a consumer may be ahead of the answer
		if err := end(ctx); err != nil {
			return err
		}
		if !back {
			n -= count
		}
	}
	return nil
}

func (d *dual) note(ids []string, committed bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	for _, id := range ids {
		d.written[id] = committed
	}
}

func (w *dualWriter) pair(ctx context.Context, tx pgx.Tx, correlation string) error {
	w.made++
	key := fmt.Sprintf("%s-batch-%d", w.name, w.rand.IntN(8))
	now := time.Now().UnixMicro()
	thin := dualPayload("spellcheck.phase.completed", correlation, key, w.made, now, "")
	rich := dualPayload("essay.spellcheck.completed", correlation, key, w.made, now, fmt.Sprintf(`,"started_at":%d,"completed_at":%d`, now-42, now))
	if w.made%2 == 0 {
		_, err := tx.Exec(ctx, `select cdc_relay.publish_dual_events(
			json_build_object('aggregate_type', 'essay', 'aggregate_id', 'essay-1', 'event_type', 'spellcheck.phase.completed', 'event_data', $1::json),
			json_build_object('aggregate_type', 'essay', 'aggregate_id', 'essay-1', 'event_type', 'essay.spellcheck.completed', 'event_data', $2::json), $3, $4)`,
			thin, rich, correlation, key)
		return err
	}
	return outbox.PublishDual(ctx, tx, &outbox.Dual{
		Thin:          outbox.Event{AggregateType: "essay", AggregateID: "essay-1", Type: "spellcheck.phase.completed", Payload: thin},
		Rich:          outbox.Event{AggregateType: "essay", AggregateID: "essay-1", Type: "essay.spellcheck.completed", Payload: rich},
		CorrelationID: correlation, Key: key,
	})
}

func dualPayload(kind, correlation, batch string, n int, now int64, more string) string {
	return fmt.Sprintf(`{"event_id":%q,"event_type":%q,"event_timestamp":%d,"schema_version":1,"source_service":"contracts","correlation_id":%q,`+
		`"data":{"batch_id":%q,"entity_ref":"essay:essay-1","essay_id":"essay-1","status":"SUCCEEDED","processing_duration_ms":%d%s}}`,
		uuid.NewString(), kind, now, correlation, batch, n, more)
}
