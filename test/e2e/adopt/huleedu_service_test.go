package adopt

import (
	"context"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
)

// oldService is a service with an outbox of its own making.
type oldService struct {
	name      string
	types     []string // one per writer
	topics    []string // by type, where the row names them
	db        *pgxpool.Pool
	worker    *oldWorker
	table     string
	columns   string // that its worker reads
	made      string // the column of the time a row was made
	mark      string
	givenUp   string
	published string // what the worker sets
	failed    string
	insert    string // $1 the envelope, $2 type, $3 key, $4 topic

	mu     sync.Mutex
	wrote  []wrote
	undone []string // refs of transactions that were rolled back
	end    chan struct{}
	ended  sync.WaitGroup
}

// wrote is an event that was committed.
type wrote struct {
	ref, key string // key "": none
	seq      int    // counts up for the key
}

func newOldService(name string, types ...string) *oldService {
	o := &oldService{
		name: name, types: types, table: "public.event_outbox", made: "created_at", mark: "published_at", givenUp: "retry_count >= 5",
		columns: "event_data::text, event_key", published: "published_at = now()", failed: "retry_count = retry_count + 1, last_error = 'timeout'",
		insert: `insert into event_outbox (id, aggregate_id, aggregate_type, event_type, event_data, event_key)
			values (gen_random_uuid(), coalesce($3::text, 'none'), 'thing', $2, $1, $3::text)`,
	}
	for _, t := range types {
		o.topics = append(o.topics, "huleedu."+t+".v1")
	}
	switch name {
	case "cj_assessment", "entitlements":
		o.columns += ", topic"
		o.insert = `insert into event_outbox (id, aggregate_id, aggregate_type, event_type, event_data, event_key, topic)
			values (gen_random_uuid(), coalesce($3::text, 'none'), 'thing', $2, $1, $3::text, $4)`
	case "email", "identity":
		o.table, o.made, o.mark, o.givenUp = "public.outbox_events", "made", "sent_at", "attempts >= 5"
		o.columns, o.published, o.failed = "kind, ref, envelope", "sent_at = now() at time zone 'UTC'", "attempts = attempts + 1, error = 'timeout'"
		o.insert = `insert into outbox_events (kind, ref, envelope) values ($2, $3::text, $1)`
		o.topics[0] = "huleedu." + name + "." + types[0] + ".v1"
	}
	if name == "cj_assessment" {
		o.topics[0] = "huleedu.assessment.results.v1"
	}
	return o
}

// oldServices are the eleven.
func oldServices() []*oldService {
	return []*oldService{
		newOldService("class_management", "class.roster.updated"),
		newOldService("file", "file.content.provisioned"),
		newOldService("essay_lifecycle", "essay.state.changed"),
		newOldService("batch_orchestrator", "batch.phase.initiated"),
		newOldService("spellchecker", "spellcheck.phase.completed", "essay.spellcheck.completed"),
		newOldService("nlp", "essay.nlp.completed"),
		newOldService("result_aggregator", "batch.result.ready"),
		newOldService("cj_assessment", "assessment.result.published"),
		newOldService("entitlements", "entitlement.credit.consumed"),
		newOldService("email", "message.sent"),
		newOldService("identity", "user.registered"),
	}
}

// envelope is an event as json.dumps of the service wrote it.
func (o *oldService) envelope(typ, topic, ref, key string, seq int) string {
	head := fmt.Sprintf(`{"event_id": %q, "event_type": %q, "event_timestamp": "2026-03-01T10:00:00.%06d+00:00", "schema_version": 1, "source_service": "%s_service", "correlation_id": %q, `,
		uuid.NewString(), typ, seq%1e6, o.name, uuid.NewString())
	switch {
	case o.mark == "sent_at":
		return head + fmt.Sprintf(`"data": {"ref": %q, "to": "\u00e5sa@example.org", "n": %d}}`, ref, seq)
	case o.name == "cj_assessment":
		return head + fmt.Sprintf(`"metadata": {"ref": %q}, "data": %s, "headers": {"trace_id": "4bf92f3577b34da6a3ce929d0e0e4736", "attempt": %d, "replayed": false}}`, ref, assessment(key), seq)
	case o.name == "entitlements":
		return head + fmt.Sprintf(`"metadata": {"ref": %q}, "data": {"amount": %d, "unlimited": false}, "headers": {"attempt": %d}}`, ref, seq, seq)
	}
	return head + fmt.Sprintf(`"metadata": {"ref": %q}, "data": {"n": %d, "share": 0.1, "name": "\u00c5k 9 \ud83d\ude00", "deep": [1, {"topic": "x", "headers": null}]}, "topic": %q%s}`,
		ref, seq, topic, []string{``, `, "headers": {"trace_id": "t-1"}`}[seq%2])
}

// assessment is the data of an assessment.result.published.
func assessment(job string) string {
	return fmt.Sprintf(`{"cj_assessment_job_id": %q, "batch_id": "batch-7", "entity_ref": "essay:1", "status": "COMPLETED", "essay_results": [`+
		`{"essay_id": "essay-1", "normalized_score": 0.8125, "letter_grade": "B+", "confidence_score": 0.93, "confidence_label": "HIGH", "bt_score": 1.25, "rank": 1, "is_anchor": false, "feedback_uri": null, "metrics_uri": null}], "artifacts": []}`, job)
}

// writes starts writers that go on until silent. Each has keys of its own, so
// that the order of a key is that of its commits.
func (s *school) writes(o *oldService) {
	s.Helper()
	o.end = make(chan struct{})
	for n := range 2 {
		o.ended.Go(func() {
			if err := o.writer(s.Ctx(10*time.Minute), n); err != nil {
				s.Errorf("a writer of %s: %v", o.name, err)
			}
		})
	}
}

// silent ends the writers.
func (o *oldService) silent() {
	close(o.end)
	o.ended.Wait()
}

func (o *oldService) writer(ctx context.Context, n int) error {
	random := rand.New(rand.NewPCG(uint64(len(o.name)), uint64(n))) //nolint:gosec // a test's load, repeatable by its seed
	stem := fmt.Sprintf("%s-%d-%s", o.name, n, uuid.NewString()[:8])
	seqs := map[string]int{}
	pause := time.NewTicker(100 * time.Millisecond)
	defer pause.Stop()
	for made := 0; ; made++ {
		select {
		case <-o.end:
			return nil
		case <-pause.C:
		}
		events := o.next(random, stem, made, seqs)
		back := made%8 == 7
		if err := o.transaction(ctx, n, events, back, made%20 == 3); err != nil {
			return err
		}
		o.mu.Lock()
		for _, e := range events {
			if back {
				o.undone = append(o.undone, e.ref)
				seqs[e.key]--
			} else {
				o.wrote = append(o.wrote, e)
			}
		}
		o.mu.Unlock()
	}
}

// next makes the events of one transaction: of one time, so of different keys.
func (o *oldService) next(random *rand.Rand, stem string, made int, seqs map[string]int) []wrote {
	var out []wrote
	for i, k := range random.Perm(3)[:1+random.IntN(3)] {
		e := wrote{ref: fmt.Sprintf("%s-%d-%d", stem, made, i), key: fmt.Sprintf("%s-k%d", stem, k)}
		if made%10 == 9 && i == 0 && o.name != "cj_assessment" {
			e.key = ""
		}
		seqs[e.key]++
		e.seq = seqs[e.key]
		out = append(out, e)
	}
	return out
}

// transaction writes events and commits, or not; a long one stays open meanwhile.
func (o *oldService) transaction(ctx context.Context, n int, events []wrote, back, long bool) error {
	tx, err := o.db.Begin(ctx)
	if err != nil {
		return err
	}
	defer tx.Rollback(context.WithoutCancel(ctx)) // after Commit it does nothing
	at := n % len(o.types)
	for _, e := range events {
		key := &e.key
		if e.key == "" {
			key = nil
		}
		args := []any{o.envelope(o.types[at], o.topics[at], e.ref, e.key, e.seq), o.types[at], key}
		if strings.Contains(o.insert, "$4") {
			args = append(args, o.topics[at])
		}
		if _, err := tx.Exec(ctx, o.insert, args...); err != nil {
			return err
		}
	}
	if long {
		if _, err := tx.Exec(ctx, "select pg_sleep(0.3)"); err != nil {
			return err
		}
	}
	if back {
		return tx.Rollback(ctx)
	}
	return tx.Commit(ctx)
}

// count is the number of events committed so far.
func (o *oldService) count() int {
	o.mu.Lock()
	defer o.mu.Unlock()
	return len(o.wrote)
}

// more waits until the service has committed n events more.
func (s *school) more(o *oldService, n int) {
	s.Helper()
	want := o.count() + n
	s.Until(fmt.Sprintf("%s has written %d events", o.name, want), func() bool { return o.count() >= want })
}

// restore makes the service's database of its dump.
func (s *school) restore(o *oldService, dump string) {
	s.Helper()
	s.Exec("create database " + o.name)
	s.Check(o.exec(s.Lab, dump))
	o.db = s.Pool(s.PG.URL(o.name))
	found, err := pgx.CollectRows(must(o.db.Query(s.Ctx(time.Minute), fmt.Sprintf("select %s from %s where %s is null", o.text(), o.table, o.mark))), pgx.RowTo[string])
	s.Check(err)
	for _, text := range found { // the worker's still
		o.wrote = append(o.wrote, wrote{ref: ref([]byte(text))})
	}
	if len(found) == 0 || !slices.ContainsFunc(o.wrote, func(w wrote) bool { return dumped(w.ref) }) {
		s.Fatalf("the dump of %s has no row that is to be published", o.name)
	}
}

// text is the SQL of what the ref is in.
func (o *oldService) text() string {
	if o.mark == "sent_at" {
		return "(envelope::json -> 'data')::text"
	}
	return "event_data::text"
}

func must[T any](v T, _ error) T { return v }
