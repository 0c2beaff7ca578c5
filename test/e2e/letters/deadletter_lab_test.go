package letters

import (
	"bufio"
	"encoding/json"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"

	"github.com/cdc-relay/cdc-relay/internal/crash"
	"github.com/cdc-relay/cdc-relay/internal/fleet"
	"github.com/cdc-relay/cdc-relay/outbox"
	"github.com/cdc-relay/cdc-relay/test/e2e/lab"
	"github.com/cdc-relay/cdc-relay/test/rig"
)

// poisoned is a lane whose events may break their schema, until it is mended.
type poisoned struct {
	*lab.Lane
	schemas string

	mu   sync.Mutex
	seq  map[string]int
	keys map[string][]string // event ids by key, in commit order
	of   map[string]string   // event id → key
	bad  map[string]bool
}

const poisonedContract = `unknown_event: dead_letter
defaults: {on_error: POLICY}
events:
  - type: assessment.result.published
    topic: TOPIC
    key: [payload.data.cj_assessment_job_id, aggregate_id]
    schema: AssessmentResultEvent
    topic_class: lane
topic_classes:
  lane: {partitions: 1, cleanup.policy: delete}
`

// newPoisoned makes a lane with a policy for what cannot be published.
func newPoisoned(t *testing.T, policy string, setups ...lab.Setup) *poisoned {
	t.Helper()
	p := &poisoned{schemas: filepath.Join(t.TempDir(), "avro"), seq: map[string]int{}, keys: map[string][]string{}, of: map[string]string{}, bad: map[string]bool{}}
	if err := os.CopyFS(p.schemas, os.DirFS(filepath.Join(rig.Root(), "schemas", "avro"))); err != nil {
		t.Fatal(err)
	}
	own := lab.With(func(c *rig.Config) {
		c.Schemas, c.Contract = p.schemas, strings.ReplaceAll(poisonedContract, "POLICY", policy)
		c.Extra += "dead_letters: {max_share: 1}\n"
		often(c)
	})
	p.Lane = lab.NewLane(t, append([]lab.Setup{own}, setups...)...)
	return p
}

// mend changes the schema so that every event fits it.
func (p *poisoned) mend() {
	p.Helper()
	p.Allow(filepath.Join(p.schemas, "EssayResultV1.avsc"))
}

// commit commits events of some keys in one transaction; those of bad keys (with
// a "!" in front) break the schema. It returns their ids.
func (p *poisoned) commit(keys ...string) []string {
	p.Helper()
	ids, err := p.tryCommit(keys...)
	p.Check(err)
	return ids
}

func (p *poisoned) tryCommit(keys ...string) (ids []string, err error) {
	var rows []outbox.Event
	p.mu.Lock() // held over the commit: the order of keys is that of commits
	defer p.mu.Unlock()
	for _, key := range keys {
		key, bad := strings.CutPrefix(key, "!")
		p.seq[key]++
		e := rig.Event{ID: uuid.NewString(), Type: rig.Types[2], Key: key, Seq: p.seq[key], Tx: 1, Of: 1}
		row := e.Outbox()
		if bad {
			row.Payload = json.RawMessage(strings.Replace(e.Payload(), `"normalized_score":0.5`, `"normalized_score":1.2`, 1))
			p.bad[e.ID] = true
		}
		rows, ids = append(rows, row), append(ids, e.ID)
		p.keys[key] = append(p.keys[key], e.ID)
		p.of[e.ID] = key
	}
	return ids, pgx.BeginFunc(p.Context(), p.DB, func(tx pgx.Tx) error { return outbox.Publish(p.Context(), tx, rows...) })
}

// relayed waits until the relay has passed everything committed so far.
func (p *poisoned) relayed(r *rig.Relay) {
	p.Helper()
	end := p.LSN(`select pg_current_wal_insert_lsn()::text`)
	p.Exec(`select pg_logical_emit_message(true, 'nobody', 'x')`) // something to pass
	p.Soon(time.Minute, "the relay passes "+end.String(), func() bool { return p.Saved().Safe >= end })
	_ = r
}

// letters lists the dead letters.
func (p *poisoned) letters(args ...string) fleet.Letters {
	p.Helper()
	var l fleet.Letters
	p.Command(append([]string{"dlq", "list", "-o", "json"}, args...)...).JSON(&l)
	return l
}

// redrives runs a redrive and demands its exit code.
func (p *poisoned) redrives(code int, args ...string) fleet.Redrive {
	p.Helper()
	c := p.Command(append([]string{"dlq", "redrive", "-o", "json"}, args...)...).Exits(code)
	var r fleet.Redrive
	if err := json.Unmarshal([]byte(c.Out), &r); err != nil {
		p.Fatalf("%v: %s", err, c)
	}
	return r
}

// order is what the topic holds: ids by key. An event that is there twice, or
// before an earlier one with its key, ends the test.
func (p *poisoned) order() map[string][]string {
	p.Helper()
	got := map[string][]string{}
	seen := map[string]bool{}
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, r := range p.Tape(p.Topic).Records {
		id := lab.Header(r, "event_id")
		key := p.of[id]
		if string(r.Key) != key || key == "" {
			p.Fatalf("event %s has key %s, want %q", id, r.Key, key)
		}
		if seen[id] {
			p.Fatalf("event %s of key %s is there twice", id, key)
		}
		seen[id] = true
		got[key] = append(got[key], id)
	}
	for key, ids := range got {
		at := -1
		for _, id := range ids {
			i := slices.Index(p.keys[key], id)
			if i < at {
				p.Fatalf("key %s: event number %d comes after number %d", key, i+1, at+1)
			}
			at = i
		}
	}
	return got
}

// whole demands that every event is there, once, in the order of its key.
func (p *poisoned) whole() {
	p.Helper()
	got := p.order()
	for key, ids := range p.keys {
		if !slices.Equal(got[key], ids) {
			missing := 0
			for _, id := range ids {
				if !slices.Contains(got[key], id) {
					missing++
				}
			}
			p.Fatalf("key %s: %d events arrived, %d were committed, %d are missing", key, len(got[key]), len(ids), missing)
		}
	}
}

// held demands how many events of a key are in the topic.
func (p *poisoned) has(counts map[string]int) {
	p.Helper()
	got := p.order()
	for key, n := range counts {
		if len(got[key]) != n {
			p.Errorf("key %s: %d events are published, want %d", key, len(got[key]), n)
		}
	}
}

// writing has a service write until stop is called: a transaction of one event
// again and again, of which some are bad while poison says so.
func (p *poisoned) writing(keys int, poison func(n int) bool) (stop func() int) {
	p.Helper()
	quit, done := make(chan struct{}), make(chan error, 1)
	made := 0
	go func() {
		for {
			select {
			case <-quit:
				done <- nil
				return
			default:
			}
			made++
			key := fmt.Sprintf("w%d", made%keys)
			if poison(made) {
				key = "!" + key
			}
			if _, err := p.tryCommit(key); err != nil {
				done <- err
				return
			}
		}
	}()
	var once sync.Once
	stop = func() int {
		once.Do(func() {
			close(quit)
			p.Check(<-done)
		})
		return made
	}
	p.Cleanup(func() { once.Do(func() { close(quit) }) })
	return stop
}

// holdUntil is hold, for a process that is let go on.
func holdUntil(l *lab.Lab, point crash.Name, n int) (env string, at <-chan struct{}, release func()) {
	l.Helper()
	dir, err := os.MkdirTemp("", "trap") // a socket's path has to be short
	l.Check(err)
	l.Cleanup(func() { os.RemoveAll(dir) })
	trap, err := net.Listen("unix", filepath.Join(dir, "s"))
	l.Check(err)
	l.Cleanup(func() { trap.Close() })
	held, conns := make(chan struct{}), make(chan net.Conn, 1)
	go func() {
		conn, err := trap.Accept()
		if err != nil {
			return // the test is over
		}
		conns <- conn
		fmt.Fprintf(conn, "arm %s %d\nready\n", point, n)
		for s := bufio.NewScanner(conn); s.Scan(); {
			if strings.HasPrefix(s.Text(), "at ") {
				close(held)
				return
			}
		}
	}()
	return "CDC_RELAY_CRASH=" + filepath.Join(dir, "s"), held, func() { fmt.Fprintf(<-conns, "go %s\n", point) }
}
