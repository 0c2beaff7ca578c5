package faults

import (
	"testing"
	"time"

	"github.com/cdc-relay/cdc-relay/test/e2e/lab"
	"github.com/cdc-relay/cdc-relay/test/rig"
)

// noticedWithin is how soon a running relay notices what happened to its
// publication: it looks every 10 s.
const noticedWithin = 10*time.Second + 5*time.Second

const createPublication = `create publication cdc_relay for table cdc_relay.outbox with (publish = 'insert', publish_via_partition_root = true)`

// lostRow is a row that no relay can deliver: the publication was not there.
const lostRow = `select cdc_relay.publish_to_outbox('essay', 'lost', 'essay.state.changed', '{}')::text`

// A change of the publication under a running relay may lose rows in silence.
// The relay notices, stops with exit code 3, says what changed, says so again
// when it is started again, and goes on after the command it names.
func TestPublicationChanges(t *testing.T) {
	cases := []struct {
		name   string
		before string // while there is no relay yet
		change []string
		mend   []string // what the message says besides `slots recreate`
		says   string   // by a relay that looks at the catalogue
		orSays string   // by one that reads the row first
		slow   bool     // notices by its look every 10 s, not by an idle checkpoint
	}{
		{name: "dropped and created again", slow: true,
			change: []string{"drop publication cdc_relay; " + createPublication},
			says:   "it was dropped and created again"},
		{name: "dropped, written, created again",
			change: []string{"drop publication cdc_relay", lostRow, createPublication},
			says:   "it was dropped and created again", orSays: `publication "cdc_relay" did not exist when a change behind the slot was written`},
		{name: "table taken out and put back", slow: true,
			change: []string{"alter publication cdc_relay drop table cdc_relay.outbox", lostRow, "alter publication cdc_relay add table cdc_relay.outbox"},
			says:   "table cdc_relay.outbox was taken out and put back"},
		{name: "table taken out",
			change: []string{"alter publication cdc_relay drop table cdc_relay.outbox", lostRow},
			mend:   []string{"alter publication cdc_relay add table cdc_relay.outbox"},
			says:   "publication cdc_relay does not hold table cdc_relay.outbox: its rows are not sent"},
		{name: "other options",
			change: []string{"alter publication cdc_relay set (publish = 'insert, update')"},
			says:   "it was altered: its options, owner or name"},
		{name: "inserts not published",
			change: []string{"alter publication cdc_relay set (publish = 'update')", lostRow},
			mend:   []string{"alter publication cdc_relay set (publish = 'insert')"},
			says:   "publication cdc_relay does not publish inserts: no event ever comes through it"},
		{name: "other tables set",
			change: []string{"create table elsewhere (n int primary key)", "alter publication cdc_relay set table elsewhere", lostRow, "alter publication cdc_relay set table cdc_relay.outbox"},
			says:   "table cdc_relay.outbox was taken out and put back"},
		{name: "table unlogged", // which a publication that names it does not let happen
			before: "create publication cdc_relay for all tables with (publish = 'insert')",
			change: []string{"alter table cdc_relay.outbox set unlogged", lostRow},
			mend:   []string{"alter table cdc_relay.outbox set logged"},
			says:   "table cdc_relay.outbox is unlogged: its rows are never in the write-ahead log"},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			l := lab.New(t, lab.With(func(conf *rig.Config) {
				if !c.slow {
					conf.Extra += "idle_checkpoint: {interval: 500ms}\n"
				}
			}))
			if c.before != "" {
				l.Exec(c.before)
			}
			r := l.Start()
			l.Writes("a", 30)
			l.Delivered(l.Reader(), 30, time.Minute)
			for _, sql := range c.change {
				l.Exec(sql)
			}
			code, err := r.Exit(l.Ctx(noticedWithin))
			l.Check(err)
			if code != 3 || !lab.Said(r, c.says) && (c.orSays == "" || !lab.Said(r, c.orSays)) {
				t.Fatalf("exit code %d, and the log says neither %q nor %q:\n%s", code, c.says, c.orSays, r.Log())
			}

			r = l.Launch("run")
			l.Gone(r, 3, 30*time.Second, "slots recreate")
			if !lab.Said(r, c.says) && (c.orSays == "" || !lab.Said(r, c.orSays)) {
				t.Errorf("started again, it says neither %q nor %q:\n%s", c.says, c.orSays, r.Log())
			}

			for _, sql := range c.mend {
				l.Exec(sql)
			}
			l.Command("slots", "recreate", "--accept-gap").Exits(0).Says("what was committed between", "is not published")
			r = l.Start()
			l.Writes("bb", 30)
			l.Settled(time.Minute) // the lost row is no part of the truth: it must not come
			l.Stops(r)
		})
	}
}
