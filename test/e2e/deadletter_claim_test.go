package e2e

import (
	"encoding/json"
	"strings"
	"testing"
	"time"

	"github.com/cdc-relay/cdc-relay/internal/fleet"
	"github.com/cdc-relay/cdc-relay/test/rig"
)

// An event that is too large becomes a dead letter, and is published once the
// contract claims it. Nothing is stored for what is parked: its objects are those
// of the redrive, verified and in order.
func TestDeadLettersAreClaimed(t *testing.T) {
	const rule = "claim_check: {fields: [data.corrected_text], ttl: 720h, type: corrected_text}"
	c := newClaims(t, with(func(conf *rig.Config) { conf.Extra += "max_event_bytes: 300KB\n" }))
	c.change(func(conf *rig.Config) {
		conf.Contract = "defaults: {on_error: dead_letter_and_hold_key}\n" + strings.Replace(conf.Contract, "    "+rule+"\n", "", 1)
	})
	var r *rig.Relay
	parked := func() bool {
		n, err := r.Metric(c.ctx(10*time.Second), "cdc_relay_parked_events_total")
		return err == nil && n == 1
	}
	r = c.start()
	c.publish(textCorrected, textOf(310_000), textOf(100), textOf(100), textOf(90_000), textOf(100)) // essays 0, 1, 2, 0, 1
	c.soon(time.Minute, "one event is parked", parked)
	c.run("dlq", "redrive", "--all").exits(1).says("1 failed", "size: ", "1 wait behind those that stay")
	c.stops(r)

	c.change(func(conf *rig.Config) {
		conf.Contract = strings.Replace(conf.Contract, "schema: EssayTextCorrectedEvent\n", "schema: EssayTextCorrectedEvent\n    "+rule+"\n", 1)
	})
	r = c.start()
	c.publish(textCorrected, textOf(100), textOf(80_000), textOf(70_000)) // essays 2, 0, 1
	c.soon(time.Minute, "one more is parked", parked)
	c.soon(time.Minute, "the last one is published", func() bool { return len(c.objects()) == 1 })
	var done fleet.Redrive
	c.check(json.Unmarshal([]byte(c.run("dlq", "redrive", "--all", "-o", "json").exits(0).out), &done))
	if done.Redriven != 3 || done.Records != 3 || done.Failed != 0 || !done.Released {
		t.Errorf("%+v", done)
	}
	reader := c.reader(c.topic[textCorrected])
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
	c.run("audit").exits(0)
	c.stops(r)
}
