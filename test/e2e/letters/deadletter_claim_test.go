package letters

import (
	"encoding/json"
	"strings"
	"testing"
	"time"

	"github.com/cdc-relay/cdc-relay/internal/fleet"
	"github.com/cdc-relay/cdc-relay/test/e2e/lab"
	"github.com/cdc-relay/cdc-relay/test/rig"
)

// An event that is too large becomes a dead letter, and is published once the
// contract claims it. Nothing is stored for what is parked: its objects are those
// of the redrive, verified and in order.
func TestDeadLettersAreClaimed(t *testing.T) {
	const rule = "claim_check: {fields: [data.corrected_text], ttl: 720h, type: corrected_text}"
	c := newClaims(t, lab.With(func(conf *rig.Config) { conf.Extra += "max_event_bytes: 300KB\n" }))
	c.Change(func(conf *rig.Config) {
		conf.Contract = "defaults: {on_error: dead_letter_and_hold_key}\n" + strings.Replace(conf.Contract, "    "+rule+"\n", "", 1)
	})
	var r *rig.Relay
	parked := func() bool {
		n, err := r.Metric(c.Ctx(10*time.Second), "cdc_relay_parked_events_total")
		return err == nil && n == 1
	}
	r = c.Start()
	c.publish(textCorrected, textOf(310_000), textOf(100), textOf(100), textOf(90_000), textOf(100)) // essays 0, 1, 2, 0, 1
	c.Soon(time.Minute, "one event is parked", parked)
	c.Command("dlq", "redrive", "--all").Exits(1).Says("1 failed", "size: ", "1 wait behind those that stay")
	c.Stops(r)

	c.Change(func(conf *rig.Config) {
		conf.Contract = strings.Replace(conf.Contract, "schema: EssayTextCorrectedEvent\n", "schema: EssayTextCorrectedEvent\n    "+rule+"\n", 1)
	})
	r = c.Start()
	c.publish(textCorrected, textOf(100), textOf(80_000), textOf(70_000)) // essays 2, 0, 1
	c.Soon(time.Minute, "one more is parked", parked)
	c.Soon(time.Minute, "the last one is published", func() bool { return len(c.objects()) == 1 })
	var done fleet.Redrive
	c.Check(json.Unmarshal([]byte(c.Command("dlq", "redrive", "--all", "-o", "json").Exits(0).Out), &done))
	if done.Redriven != 3 || done.Records != 3 || done.Failed != 0 || !done.Released {
		t.Errorf("%+v", done)
	}
	reader := c.Reader(c.topic[textCorrected])
	if n := c.arrived(reader); n != 4 {
		t.Errorf("%d records were claimed, want 4", n)
	}
	if n := len(c.objects()); n != 4 {
		t.Errorf("%d objects: %v", n, c.objects())
	}
	order := map[string][]string{}
	for _, e := range c.want {
		order[e.essay] = append(order[e.essay], e.id)
	}
	for i := range reader.All {
		rec := &reader.All[i]
		if order[rec.Key][0] != rec.Headers["event_id"] {
			t.Fatalf("%s of %s is overtaken", order[rec.Key][0], rec.Key)
		}
		order[rec.Key] = order[rec.Key][1:]
	}
	c.Command("audit").Exits(0)
	c.Stops(r)
}
