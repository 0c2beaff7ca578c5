package e2e

import (
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/cdc-relay/cdc-relay/test/rig"
)

// Storage that is down for ten seconds holds the pipeline up and loses and
// doubles nothing; Postgres is told nothing meanwhile.
func TestClaimStorageDown(t *testing.T) {
	c := newClaims(t)
	r := c.start()
	c.publish(textCorrected, textOf(60_000), textOf(100))
	reader := c.reader(c.topic[textCorrected])
	c.arrived(reader)
	c.acknowledged()
	c.s3.Down()
	c.publish(textCorrected, textOf(100), textOf(60_000), textOf(100), textOf(90_000))
	back := time.After(10 * time.Second)
	first := c.flushed() // what was committed is before it
	c.logged(r, "s3://artifacts", time.Minute)
	<-back
	if at := c.confirmed(); at >= first {
		t.Errorf("the slot is confirmed up to %s while the objects of %s are not stored", at, first)
	}
	if c.restarts(r) == 0 || c.metric(r, "cdc_relay_claim_failures_total") == 0 {
		t.Error("the storage was down, and nobody noticed")
	}
	c.s3.Up()
	if n := c.arrived(reader); n != 3 {
		t.Errorf("%d claimed, want 3", n)
	}
	c.stops(r)
}

// A relay killed when its objects are stored and its transaction is not begun:
// the next one finds them, and everything is there once.
func TestClaimKilledBetweenUploadAndCommit(t *testing.T) {
	c := newClaims(t)
	r := c.start()
	stored := make(chan struct{}, 16)
	c.s3.Answer(func(w http.ResponseWriter, req *http.Request) bool {
		if req.Method != http.MethodPut || !strings.Contains(req.URL.Path, "/sha256/") {
			return false
		}
		c.s3.Store(httptest.NewRecorder(), req)
		stored <- struct{}{}
		<-req.Context().Done() // the answer never comes
		return true
	})
	c.publish(textCorrected, textOf(60_000), textOf(100))
	select {
	case <-stored:
	case <-c.ctx(time.Minute).Done():
		t.Fatal("nothing was stored")
	}
	r.Kill()
	if len(c.objects()) != 1 {
		t.Fatalf("objects %v", c.objects())
	}
	c.s3.Answer(nil)
	r = c.start()
	c.arrived(c.reader(c.topic[textCorrected]))
	if n := len(c.objects()); n != 1 {
		t.Errorf("%d objects, want the one", n)
	}
	if n := c.metric(r, "cdc_relay_claim_objects_total", `"present"`); n != 1 {
		t.Errorf("%v found present", n)
	}
	c.stops(r)
}

// Killed again and again in the middle: every event once, every object once.
func TestClaimKills(t *testing.T) {
	c := newClaims(t, with(func(conf *rig.Config) { conf.Extra += "batch: {events: 5}\n" }))
	c.stops(c.start()) // the slot keeps what follows
	large := 0
	for i := range 60 {
		size := 100
		if i%3 == 0 {
			size, large = 51_000+i, large+1
		}
		c.publish(textCorrected, textOf(size))
	}
	reader := c.reader(c.topic[textCorrected])
	for _, n := range []int{1, 15, 35} {
		r := c.launch("run")
		c.delivered(reader, n, time.Minute)
		r.Kill()
	}
	r := c.start()
	if n := c.arrived(reader); n != large || len(c.objects()) != large {
		t.Errorf("%d claimed, %d objects, want %d", n, len(c.objects()), large)
	}
	c.stops(r)
}

// A replay refers to the objects that are there.
func TestClaimReplay(t *testing.T) {
	c := newClaims(t)
	r := c.start()
	c.publish(textCorrected, textOf(100))
	reader := c.reader(c.topic[textCorrected])
	c.arrived(reader)
	c.acknowledged()
	out := c.run("slots", "anchor", "before").exits(0).out
	from := wordAfter(t, out, "--from-lsn ")
	c.publish(textCorrected, textOf(60_000), textOf(80_000), textOf(100))
	c.arrived(reader)
	objects := c.objects()
	c.stops(r)
	r = c.launch("run", "--from-lsn", from)
	c.logged(r, "replay done", time.Minute)
	c.check(reader.Read(c.ctx(time.Minute), func(n int) bool { return n >= 7 }))
	c.check(reader.Settle(c.ctx(time.Minute), time.Second))
	refs := map[string]int{}
	dec, err := rig.NewDecoder(c.sr.URL())
	c.check(err)
	for i := range reader.All {
		rec := &reader.All[i]
		for _, e := range c.want {
			if e.id == rec.Headers["event_id"] && c.whole(dec, rec, e) {
				refs[e.id]++
			}
		}
	}
	if len(reader.All) != 7 || len(refs) != 2 || !slices.Equal(c.objects(), objects) {
		t.Errorf("%d records, references %v, objects %v, before %v", len(reader.All), refs, c.objects(), objects)
	}
	c.stops(r)
}

// What storage refuses stops the pipeline and says what to do; at the start too.
func TestClaimStorageRefuses(t *testing.T) {
	c := newClaims(t)
	r := c.start()
	c.publish(textCorrected, textOf(100))
	reader := c.reader(c.topic[textCorrected])
	c.arrived(reader)
	c.s3.Fails(http.StatusForbidden, "AccessDenied")
	c.publish(textCorrected, textOf(60_000))
	c.gone(r, 3, time.Minute, "AccessDenied", "let the relay's credentials write and read objects there", "cdc-relay doctor")
	c.refused("AccessDenied", "s3:PutObject")
	c.run("doctor").exits(3).says("claim check", "fail", "AccessDenied")
	c.s3.Fails(http.StatusNotFound, "NoSuchBucket")
	c.refused("NoSuchBucket", "create the bucket")
	c.s3.Fails(0, "")
	r = c.start()
	c.arrived(reader)
	c.stops(r)
}

// A repair stores what its records refer to, and an audit knows the records as
// what the relay would have made of the rows.
func TestClaimAuditAndRepair(t *testing.T) {
	c := newClaims(t)
	r := c.start()
	c.publish(textCorrected, textOf(60_000), textOf(100))
	reader := c.reader(c.topic[textCorrected], c.topic[essayArchived])
	c.arrived(reader)
	c.stops(r)
	c.publish(textCorrected, textOf(70_000), textOf(100))
	c.publish(essayArchived, textOf(300_000))
	c.run("slots", "recreate", "--accept-gap").exits(0)
	r = c.start()
	if rep := c.repairs(0, "--yes"); rep.Produced != 3 || !rep.Healed {
		t.Errorf("%+v", rep)
	}
	if n := c.arrived(reader); n != 3 || len(c.objects()) != 3 {
		t.Errorf("%d claimed, %d objects, want 3 of each", n, len(c.objects()))
	}
	c.run("audit").exits(0)
	c.stops(r)
}
