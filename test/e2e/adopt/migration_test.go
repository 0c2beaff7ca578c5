package adopt

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/cdc-relay/cdc-relay/internal/audit"
	"github.com/cdc-relay/cdc-relay/internal/doctor"
	"github.com/cdc-relay/cdc-relay/test/e2e/lab"
)

// docs/migration.md from its beginning to its end, ways back included, on the
// eleven databases of examples/huleedu, with services that write all along. The
// parts build on each other.
func TestMigration(t *testing.T) {
	s := newSchool(t)
	s.asItSays()
	for _, o := range s.order {
		s.work(o)
		s.writes(o)
	}
	s.shadow(s.services["class_management"])
	s.phase1()
	s.wayBack(s.services["cj_assessment"], s.services["email"])
	for _, o := range s.order {
		o.silent()
	}
	s.caughtUp()
	s.exactly()
	s.Log("phase 1 is done")
	s.phase2()
	s.phase3()
}

// phase1 hands over every service and starts the relay.
func (s *school) phase1() {
	s.Helper()
	first := s.order[0]
	for _, o := range s.order {
		_, err := s.follow(o, "take-over")
		if err == nil || !strings.Contains(err.Error(), "cdc_relay_handover") {
			s.Fatalf("a table was taken over before anything was prepared: %v", err)
		}
		s.followed(o, "prepare")
		if o == first {
			s.orderMatters(o)
		}
		s.more(o, 20) // committed behind the slot's position, and the worker's
		s.handOver(o)
	}
	var found lab.Findings
	c := s.relayed("doctor", "-o", "json").Exits(3)
	s.Check(json.Unmarshal([]byte(c.Out), &found))
	for _, f := range found.Findings {
		if f.Level == doctor.Fail && f.Check != "adoption" {
			s.Errorf("after the preparation doctor says %+v", f)
		}
	}
	c.Says("every field finds its column in public.event_outbox", "column made is of type timestamp without time zone: it is taken as UTC")
	for _, o := range s.order {
		if o != first {
			s.relayed("slots", "adopt", "--pipeline", o.name).Exits(0)
		}
	}
	s.followed(first, "adopt")
	for _, o := range s.order {
		s.more(o, 30)
	}
}

// orderMatters tries the steps in the wrong order: each refuses, and says what is
// missing.
func (s *school) orderMatters(o *oldService) {
	s.Helper()
	refused := func(sql, want string) {
		s.Helper()
		if err := o.exec(s.Lab, sql); err == nil || !strings.Contains(err.Error(), want) {
			s.Errorf("%s: %v, want %q", sql, err, want)
		}
	}
	take := "select cdc_relay_handover.take_over('" + o.table + "', '%s')"
	refused("select cdc_relay_handover.settle('"+o.table+"')", "was not taken over")
	refused(fmt.Sprintf(take, "nobody"), "slot nobody is none of database")
	refused("create table unpublished (published_at timestamptz); select cdc_relay_handover.take_over('unpublished', 'nobody')", "no publication holds")
	refused("select cdc_relay_handover.take_over('"+o.table+"', 'nobody', mark => 'retry_count')", "has no column retry_count that holds a time")
	// A transaction that does not end keeps the line from being drawn, and writers
	// go on after that.
	open, err := o.db.Begin(s.Ctx(time.Minute))
	s.Check(err)
	_, err = open.Exec(s.Context(), "lock table "+o.table+" in row exclusive mode")
	s.Check(err)
	refused("set lock_timeout = '1s'; "+fmt.Sprintf(take, "cdc_relay_huleedu_"+o.name), "lock timeout")
	s.Check(open.Rollback(s.Context()))
	if got := s.count(o, "select count(*) from cdc_relay_handover.taken"); got != 0 {
		s.Errorf("%d tables were taken over by a refused step", got)
	}
}

func (s *school) count(o *oldService, sql string) int {
	s.Helper()
	var n int
	s.Check(o.db.QueryRow(s.Ctx(time.Minute), sql).Scan(&n))
	return n
}

// wayBack kills the relay while it is behind, gives the tables of some services
// back to their workers, and hands them over once more.
func (s *school) wayBack(some ...*oldService) {
	s.Helper()
	s.relay.Kill()
	for _, o := range some {
		s.more(o, 10) // which nobody has published
		done, err := s.follow(o, "release")
		s.Check(err)
		if c := done[0]; c.Code != 0 && c.Code != 3 { // 3: some are missing for certain
			s.Fatalf("%s", c)
		}
		s.more(o, 10) // the worker's
		s.choose(o)
		s.vars["IDS"] = s.notInKafka()
		s.giveBack(o)
		s.work(o)
	}
	off := "databases:\n"
	for _, o := range some {
		off += fmt.Sprintf("  %s: {enabled: false}\n", o.name)
	}
	s.file("off.yaml", off)
	s.start()
	for _, o := range some {
		s.more(o, 20)
		s.Logf("%s is back with its worker", o.name)
		s.Check(o.exec(s.Lab, "select pg_create_logical_replication_slot('cdc_relay_huleedu_"+o.name+"', 'pgoutput')"))
		s.handOver(o)
	}
	s.Stopped(s.relay, 0)
	s.file("off.yaml", "{}\n")
	s.relayed("slots", "adopt", "--pipeline", some[1].name).Exits(3).Says("has a checkpoint already")
	s.relayed("slots", "adopt", "--pipeline", some[1].name, "--accept-gap").Exits(0)
	s.followed(some[0], "adopt-again")
	for _, o := range some {
		s.more(o, 20)
	}
}

// notInKafka does with audit.json what the page's jq does.
func (s *school) notInKafka() string {
	s.Helper()
	text, err := os.ReadFile(filepath.Join(s.Dir, "audit.json"))
	s.Check(err)
	var r audit.Report
	s.Check(json.Unmarshal(text, &r))
	var ids []string
	for _, d := range r.Details {
		if d.Kind == audit.Missing || d.Kind == audit.NotRelayed {
			ids = append(ids, d.RowID)
		}
	}
	if int64(len(ids)) != r.Missing+r.NotRelayedYet || len(ids) == 0 || r.Duplicate+r.OutOfOrder != 0 {
		s.Fatalf("%d rows are to be given back: %s", len(ids), text)
	}
	slices.Sort(ids)
	s.Logf("%d rows of %d are given back", len(ids), r.TableRows)
	return "{" + strings.Join(slices.Compact(ids), ",") + "}"
}

// giveBack is the page's block with the ids in it.
func (s *school) giveBack(o *oldService) {
	s.Helper()
	for line := range strings.Lines(s.block("give-back")) {
		w, err := words(line, s.vars)
		s.Check(err)
		s.Check(s.psql(w[1:]))
	}
}

// caughtUp audits each service, which waits until the relay has brought what was
// committed.
func (s *school) caughtUp() {
	s.Helper()
	for _, o := range s.order {
		s.sound(o)
	}
}
