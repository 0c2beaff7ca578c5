package letters

import (
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/cdc-relay/cdc-relay/test/e2e/lab"
	"github.com/cdc-relay/cdc-relay/test/rig"
)

// Storage that is down for ten seconds holds the pipeline up and loses and
// doubles nothing; Postgres is told nothing meanwhile.
func TestClaimStorageDown(t *testing.T) {
	c := newClaims(t)
	r := c.Start()
	c.publish(textCorrected, textOf(60_000), textOf(100))
	reader := c.Reader(c.topic[textCorrected])
	c.arrived(reader)
	c.Acknowledged()
	c.s3.Down()
	c.publish(textCorrected, textOf(100), textOf(60_000), textOf(100), textOf(90_000))
	back := time.After(10 * time.Second)
	first := c.Flushed() // what was committed is before it
	c.Logged(r, "s3://artifacts", time.Minute)
	<-back
	if at := c.Confirmed(); at >= first {
		t.Errorf("the slot is confirmed up to %s while the objects of %s are not stored", at, first)
	}
	if c.Restarts(r) == 0 || c.metric(r, "cdc_relay_claim_failures_total") == 0 {
		t.Error("the storage was down, and nobody noticed")
	}
	c.s3.Up()
	if n := c.arrived(reader); n != 3 {
		t.Errorf("%d claimed, want 3", n)
	}
	c.Stops(r)
}

// A relay killed when its objects are stored and its transaction is not begun:
// the next one finds them, and everything is there once.
func TestClaimKilledBetweenUploadAndCommit(t *testing.T) {
	c := newClaims(t)
	r := c.Start()
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
	case <-c.Ctx(time.Minute).Done():
		t.Fatal("nothing was stored")
	}
	r.Kill()
	if len(c.objects()) != 1 {
		t.Fatalf("objects %v", c.objects())
	}
	c.s3.Answer(nil)
	r = c.Start()
	c.arrived(c.Reader(c.topic[textCorrected]))
	if n := len(c.objects()); n != 1 {
		t.Errorf("%d objects, want the one", n)
	}
	if n := c.metric(r, "cdc_relay_claim_objects_total", `"present"`); n != 1 {
		t.Errorf("%v found present", n)
	}
	c.Stops(r)
}

// Killed again and again in the middle: every event once, every object once.
func TestClaimKills(t *testing.T) {
	c := newClaims(t, lab.With(func(conf *rig.Config) { conf.Extra += "batch: {events: 5}\n" }))
	c.Stops(c.Start()) // the slot keeps what follows
	large := 0
	for i := range 60 {
		size := 100
		if i%3 == 0 {
			size, large = 51_000+i, large+1
		}
		c.publish(textCorrected, textOf(size))
	}
	reader := c.Reader(c.topic[textCorrected])
	for _, n := range []int{1, 15, 35} {
		r := c.Launch("run")
		c.Delivered(reader, n, time.Minute)
		r.Kill()
	}
	r := c.Start()
	if n := c.arrived(reader); n != large || len(c.objects()) != large {
		t.Errorf("%d claimed, %d objects, want %d", n, len(c.objects()), large)
	}
	c.Stops(r)
}

// A replay refers to the objects that are there.
func TestClaimReplay(t *testing.T) {
	c := newClaims(t)
	r := c.Start()
	c.publish(textCorrected, textOf(100))
	reader := c.Reader(c.topic[textCorrected])
	c.arrived(reader)
	c.Acknowledged()
	out := c.Command("slots", "anchor", "before").Exits(0).Out
	from := lab.WordAfter(t, out, "--from-lsn ")
	c.publish(textCorrected, textOf(60_000), textOf(80_000), textOf(100))
	c.arrived(reader)
	objects := c.objects()
	c.Stops(r)
	r = c.Launch("run", "--from-lsn", from)
	c.Logged(r, "replay done", time.Minute)
	c.Check(reader.Read(c.Ctx(time.Minute), func(n int) bool { return n >= 7 }))
	c.Check(reader.Settle(c.Ctx(time.Minute), time.Second))
	refs := map[string]int{}
	dec, err := rig.NewDecoder(c.SR.URL())
	c.Check(err)
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
	c.Stops(r)
}

// What storage refuses stops the pipeline and says what to do; at the start too.
func TestClaimStorageRefuses(t *testing.T) {
	c := newClaims(t)
	r := c.Start()
	c.publish(textCorrected, textOf(100))
	reader := c.Reader(c.topic[textCorrected])
	c.arrived(reader)
	c.s3.Fails(http.StatusForbidden, "AccessDenied")
	c.publish(textCorrected, textOf(60_000))
	c.Gone(r, 3, time.Minute, "AccessDenied", "let the relay's credentials write and read objects there", "cdc-relay doctor")
	c.Refused("AccessDenied", "s3:PutObject")
	c.Command("doctor").Exits(3).Says("claim check", "fail", "AccessDenied")
	c.s3.Fails(http.StatusNotFound, "NoSuchBucket")
	c.Refused("NoSuchBucket", "create the bucket")
	c.s3.Fails(0, "")
	r = c.Start()
	c.arrived(reader)
	c.Stops(r)
}

// A repair stores what its records refer to, and an audit knows the records as
// what the relay would have made of the rows.
func TestClaimAuditAndRepair(t *testing.T) {
	c := newClaims(t)
	r := c.Start()
	c.publish(textCorrected, textOf(60_000), textOf(100))
	reader := c.Reader(c.topic[textCorrected], c.topic[essayArchived])
	c.arrived(reader)
	c.Stops(r)
	c.publish(textCorrected, textOf(70_000), textOf(100))
	c.publish(essayArchived, textOf(300_000))
	c.Command("slots", "recreate", "--accept-gap").Exits(0)
	r = c.Start()
	if rep := repairs(c.Lab, 0, "--yes"); rep.Produced != 3 || !rep.Healed {
		t.Errorf("%+v", rep)
	}
	if n := c.arrived(reader); n != 3 || len(c.objects()) != 3 {
		t.Errorf("%d claimed, %d objects, want 3 of each", n, len(c.objects()))
	}
	c.Command("audit").Exits(0)
	c.Stops(r)
}
