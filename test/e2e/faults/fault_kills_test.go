package faults

import (
	"fmt"
	"math/rand/v2"
	"os"
	"strconv"
	"testing"
	"time"

	"github.com/cdc-relay/cdc-relay/internal/event"
	"github.com/cdc-relay/cdc-relay/test/e2e/lab"
	"github.com/cdc-relay/cdc-relay/test/rig"
)

// The backlog of the kills: events of one type, numbered from 1 in commit
// order, in transactions of very different sizes, among them some that are
// larger than the batch limit and are cut.
const (
	backlog     = 100_000
	backlogKeys = 40
	kills       = 20
)

// backlogSQL commits the transactions; %d are how many events and how many keys.
const backlogSQL = `do $$
declare
  sizes int[] := array[1, 3, 17, 250, 1, 900, 2, 2600, 5, 60];
  total int := %d;
  n int := 0;
  i int := 0;
  size int;
begin
  while n < total loop
    size := least(sizes[1 + i %% 10], total - n);
    insert into cdc_relay.outbox (id, aggregate_type, aggregate_id, event_type, headers, payload)
    select ('00000000-0000-4000-8000-' || lpad(to_hex(e), 12, '0'))::uuid, 'essay', 'k' || e %% %d, 'essay.state.changed',
      json_build_object('n', e::text),
      json_build_object('event_id', '00000000-0000-4000-8000-' || lpad(to_hex(e), 12, '0'), 'event_type', 'essay.state.changed',
        'event_timestamp', 1760000000000000, 'schema_version', 1, 'source_service', 'rig', 'correlation_id', '00000000-0000-4000-8000-' || lpad(to_hex(e), 12, '0'),
        'metadata', json_build_object('n', e::text),
        'data', json_build_object('entity_ref', 'k' || e %% %d, 'essay_id', 'k' || e %% %d, 'batch_id', 'batch-7', 'previous_state', 'spellchecked_success',
          'new_state', 'cj_assessment_success', 'state_version', e, 'changed_at', 1760000000000000, 'reason', repeat('because ', 40)))
    from generate_series(n + 1, n + size) as e;
    commit;
    n := n + size;
    i := i + 1;
  end loop;
end $$`

// A relay is killed twenty times at random moments while it drains a backlog:
// in the middle of transactions, while it starts, while it takes the slot. All
// hundred thousand events arrive once, in order per key, and Postgres is never
// told to forget what is not in Kafka.
func TestTwentyKillsWhileDraining(t *testing.T) {
	l := lab.New(t, lab.OwnCheckpoints, lab.With(func(c *rig.Config) { c.Extra += "batch: {events: 500}\n" }))
	seed := uint64(time.Now().UnixNano())
	if s := os.Getenv("CDC_RELAY_SEED"); s != "" {
		var err error
		seed, err = strconv.ParseUint(s, 10, 64)
		l.Check(err)
	}
	t.Logf("seed %d (again: CDC_RELAY_SEED=%d)", seed, seed)
	random := rand.New(rand.NewPCG(seed, 20)) //nolint:gosec // repeatable by its seed
	l.Stops(l.Start())
	l.Exec(fmt.Sprintf(backlogSQL, backlog, backlogKeys, backlogKeys, backlogKeys))

	reader := l.Reader(rig.Topics(l.ID)[0])
	in := 0 // kills while it started
	for i := range kills {
		r := l.Launch("run")
		if random.IntN(3) == 0 {
			in++
			<-time.After(time.Duration(random.IntN(1200)) * time.Millisecond) // the moment is the subject
		} else {
			// A piece of what is left, so that the kills spread over the drain.
			piece := 2 * (backlog - len(reader.All)) / (kills - i + 1)
			l.Delivered(reader, len(reader.All)+1+random.IntN(max(piece, 1)), time.Minute)
			<-time.After(time.Duration(random.IntN(20)) * time.Millisecond)
		}
		r.Kill()
		ackedIsCommitted(l)
	}
	t.Logf("%d events delivered before the last start; %d kills by the clock", len(reader.All), in)
	r := l.Start()
	l.Delivered(reader, backlog, 2*time.Minute)
	l.Check(reader.Settle(l.Ctx(time.Minute), time.Second))
	l.Stops(r)
	ackedIsCommitted(l)
	drained(l, reader.All)
}

// ackedIsCommitted demands, while no relay runs, that Postgres was not told to
// forget more than the checkpoint in Kafka says.
func ackedIsCommitted(l *lab.Lab) {
	l.Helper()
	confirmed := l.Confirmed()
	if s := l.Saved(); confirmed > s.Safe {
		l.Errorf("the slot has confirmed %s, and the checkpoint in Kafka says %s", confirmed, s.Safe)
	} else if s.State != event.StateStreaming {
		l.Errorf("checkpoint %+v", s)
	}
}

// drained demands the numbers 1 to backlog once each, ascending per key.
func drained(l *lab.Lab, records []rig.Record) {
	l.Helper()
	seen := make([]bool, backlog+1)
	last := map[string]int{}
	duplicates, disorder, strange := 0, 0, 0
	for i := range records {
		r := &records[i]
		n, err := strconv.Atoi(r.Headers["n"])
		switch {
		case err != nil || n < 1 || n > backlog || r.Key != "k"+strconv.Itoa(n%backlogKeys) || r.Headers["event_id"] != fmt.Sprintf("00000000-0000-4000-8000-%012x", n):
			strange++
			continue
		case seen[n]:
			duplicates++
			continue
		case n <= last[r.Key]:
			disorder++
		}
		seen[n], last[r.Key] = true, n
	}
	missing := 0
	for n := 1; n <= backlog; n++ {
		if !seen[n] {
			missing++
		}
	}
	if len(records) != backlog || duplicates+disorder+strange+missing > 0 {
		l.Errorf("%d records of %d: %d duplicates, %d missing, %d out of order, %d strange", len(records), backlog, duplicates, missing, disorder, strange)
	}
	sampled(l, records)
}

// sampled decodes a few records.
func sampled(l *lab.Lab, records []rig.Record) {
	l.Helper()
	dec, err := rig.NewDecoder(l.SR.URL())
	l.Check(err)
	for i := 0; i < len(records); i += 997 {
		v, err := dec.Decode(l.Ctx(time.Minute), records[i].Value)
		l.Check(err)
		if n := fmt.Sprint(v["metadata"].(map[string]any)["n"]); n != records[i].Headers["n"] {
			l.Errorf("record %d: the value is that of event %s, the header of %s", i, n, records[i].Headers["n"])
		}
	}
}
