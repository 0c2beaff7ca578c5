package flow

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/cdc-relay/cdc-relay/outbox"
	"github.com/cdc-relay/cdc-relay/test/e2e/lab"
	"github.com/cdc-relay/cdc-relay/test/rig"
)

// An event whose payload breaks its schema stops the pipeline: everything before
// its transaction is delivered, nothing of it and nothing after. The message
// says where it is and what is wrong. Mending the schema is enough to go on.
func TestPayloadBreaksItsSchema(t *testing.T) {
	schemas := filepath.Join(t.TempDir(), "avro")
	if err := os.CopyFS(schemas, os.DirFS(filepath.Join(rig.Root(), "schemas", "avro"))); err != nil {
		t.Fatal(err)
	}
	n := lab.NewLane(t, lab.With(func(c *rig.Config) {
		c.Schemas = schemas
		c.Contract = strings.NewReplacer("essay.state.changed", rig.Types[2], "EssayStateChangedEvent", "AssessmentResultEvent").Replace(lab.LaneContract)
	}))
	// The relay finds everything there at once, so that what comes before the bad
	// transaction lies in the batch with it.
	n.Stopped(n.Start(), 0)
	results := func(count int) []rig.Event {
		out := make([]rig.Event, count)
		for i := range out {
			out[i] = n.Next()
			out[i].Type = rig.Types[2]
		}
		return out
	}
	commit := func(change func(string) string, events ...rig.Event) {
		n.Check(pgx.BeginFunc(n.Ctx(time.Minute), n.DB, func(tx pgx.Tx) error {
			rows := make([]outbox.Event, len(events))
			for i, e := range events {
				rows[i] = e.Outbox()
			}
			rows[len(rows)-1].Payload = change(events[len(events)-1].Payload())
			return outbox.Publish(n.Context(), tx, rows...)
		}))
	}
	same := func(s string) string { return s }
	before := results(40)
	for i := range 10 {
		commit(same, before[4*i:4*i+4]...)
	}
	// A good row, then a bad one, in one transaction; then a good transaction.
	bad, after := results(3), results(1)
	commit(func(s string) string {
		return strings.Replace(s, `"normalized_score":0.5`, `"normalized_score":1.2`, 1)
	}, bad...)
	commit(same, after...)

	r := n.Launch("run")
	code, err := r.Exit(n.Ctx(time.Minute))
	n.Check(err)
	if code != 1 {
		t.Errorf("exit code %d, want 1", code)
	}
	n.Committed(before...)
	n.Same(n.Tape(n.Topic).IDs())
	explained(n, r, bad[2])

	// The same again: it stops at the same place, and doubles nothing.
	r = n.Launch("run")
	if code, err = r.Exit(n.Ctx(time.Minute)); err != nil || code != 1 {
		t.Errorf("the second time: exit code %d, %v", code, err)
	}
	n.Same(n.Tape(n.Topic).IDs())
	explained(n, r, bad[2])

	n.Allow(filepath.Join(schemas, "EssayResultV1.avsc"))
	r = n.Start()
	n.Committed(bad...)
	n.Committed(after...)
	n.Arrived(n.Reader(n.Topic))
	n.Finished(r)
}

// explained demands of the relay's last words everything a person needs to find
// and mend the event.
func explained(n *lab.Lane, r *rig.Relay, bad rig.Event) {
	n.Helper()
	_, last, ok := strings.Cut(r.Log(), "\ncdc-relay: ")
	if !ok {
		n.Fatalf("no last word:\n%s", r.Log())
	}
	xid := n.Ask(`select xmin::text from cdc_relay.outbox where id = $1`, bad.ID)
	for _, part := range []string{
		"pipeline " + lab.DatabaseName(n.URL) + ": ", fmt.Sprintf("event %q", bad.Type), fmt.Sprintf("row id %q", bad.ID),
		"of cdc_relay.outbox at LSN ", "xid " + xid, "AssessmentResultEventV1", "topic " + n.Topic,
		"data.essay_results[1].normalized_score: 1.2 > maximum 1",
		fmt.Sprintf("\n  next: look at the row: select * from cdc_relay.outbox where id = '%s'", bad.ID),
	} {
		if !strings.Contains(last, part) {
			n.Errorf("the last word does not say %q: %s", part, last)
		}
	}
	if !strings.Contains(r.Log(), "level=ERROR") {
		n.Error("nothing was logged as an error")
	}
	n.Log(last)
}
