package main

import (
	"slices"
	"strings"
	"testing"
)

// Small worlds for every run of the tests; the large ones are `make model`.
func TestDesign(t *testing.T) {
	t.Parallel()
	small := configuration("recreate")
	small.Budget = Budget{Kill: 1}
	var did [lastDeed + 1]bool
	for _, c := range []Config{configuration("alone"), configuration("foreign"), small} {
		res, err := run(c, Rules{}, holds, most)
		if err != nil || res.Broken != holds {
			t.Fatalf("%s: %v, %v; see it with: go run ./docs/model -trace %s", c.Name, res.Broken, err, c.Name)
		}
		t.Logf("%s: %d states", c.Name, res.States)
		if res.States < 100_000 {
			t.Errorf("%s has only %d states: the world has become smaller than it was", c.Name, res.States)
		}
		for d, yes := range res.Did {
			did[d] = did[d] || yes
		}
	}
	for d, yes := range did {
		if rare := slices.Contains([]deed{doOverlap, doWatch, doLateMarker}, deed(d)) || deeds[d] == ""; yes == rare {
			t.Errorf("%q: happens %v", deeds[d], yes)
		}
	}
}

func TestMutants(t *testing.T) {
	t.Parallel()
	for name, want := range map[string]property{
		"no-fence": duplicate, "drop-by-safe": loss, "no-intent": refusal, "ack-before-commit": loss, "no-checkpoint": ackAhead,
		"fence-before-take": disturbed, "drop-blindly": loss, "position-before-owner": refusal,
		"commit-asked-twice": partial, "unverified-produce": duplicate, "late-marker": partial,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			i := slices.IndexFunc(mutants, func(m mutant) bool { return m.Name == name })
			f, err := hunt(mutants[i])
			if err != nil || f.Property != want.String() {
				t.Fatalf("found %q after %d steps, %v; want %q", f.Property, f.Steps, err, want)
			}
		})
	}
}

// A world in which nothing can be delivered has a dead end: the check for them
// would say so.
func TestDeadEnd(t *testing.T) {
	t.Parallel()
	c := configuration("alone")
	c.Budget = Budget{}
	c.start = func(s *State) { s.R[0].PC = pcStopped } // nobody is there to deliver
	res, err := run(c, Rules{}, holds, most)
	if err != nil || res.Broken != deadEnd {
		t.Fatalf("%v, %v; want %v", res.Broken, err, deadEnd)
	}
}

// A trace is for people; it ends with the property that broke.
func TestTrace(t *testing.T) {
	t.Parallel()
	var text strings.Builder
	if err := trace(&text, "model-is-not-there"); err == nil {
		t.Error("no error for an unknown name")
	}
	if err := trace(&text, "ack-before-commit"); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"A takes the slot", "reaches the broker", "loss: "} {
		if !strings.Contains(text.String(), want) {
			t.Errorf("the trace lacks %q:\n%s", want, text.String())
		}
	}
}

// The shortest way to lose a commit that was asked for twice is the one it was
// found by: a later transaction of the same id is open when the elder arrives.
func TestCommitAskedTwice(t *testing.T) {
	t.Parallel()
	i := slices.IndexFunc(mutants, func(m mutant) bool { return m.Name == "commit-asked-twice" })
	res, err := run(configuration(mutants[i].In), mutants[i].Rules, holds, most)
	if err != nil {
		t.Fatal(err)
	}
	var did []deed
	var ids []uint8
	for _, st := range res.Trace[1:] {
		if d := st.act.do; d == doRow || d == doEnd || d == doEndTwice || d >= doLateInit && d <= doLateMarker {
			did, ids = append(did, d), append(ids, st.act.id)
		}
	}
	want, on := []deed{doRow, doEndTwice, doRow, doEnd, doRow, doLateCommit}, []uint8{0, 0, 1, 1, 0, 0}
	if !slices.Equal(did, want) || !slices.Equal(ids, on) {
		t.Errorf("it is another way: %v on %v, want %v on %v", did, ids, want, on)
	}
}

// Who takes what comes late, by hand.
func TestLate(t *testing.T) {
	t.Parallel()
	w := newWorld(configuration("alone"), Rules{})
	arrive := func(s State) (did []deed) {
		w.out = w.out[:0]
		w.lateRequests(&s)
		for _, st := range w.out {
			did = append(did, st.act.do)
		}
		return did
	}
	s := w.first()
	s.R[0] = Relay{PC: pcProduce, Has: 3, K: 1, BLast: 2, BSafe: 2, Kind: streaming}
	s.hand(0, who(0))
	w.register(&s, 0, onData)
	w.recover(&s, 0) // between two rows
	if got, want := arrive(s), []deed{doLateInit, doLateRow, doLateAbort}; !slices.Equal(got, want) {
		t.Errorf("while the transaction is open: %v, want %v", got, want)
	}
	aborted := s
	aborted.abort(0)
	if got, want := arrive(aborted), []deed{doLateAdd}; !slices.Equal(got, want) {
		t.Errorf("with no transaction, in the same epoch: %v, want %v", got, want)
	}
	s.hand(0, who(0))
	if got, want := arrive(s), []deed{doLateInit}; !slices.Equal(got, want) {
		t.Errorf("in the next epoch: %v, want %v", got, want)
	}
}

// A mutant whose configuration has another name would never be looked for.
func TestNames(t *testing.T) {
	t.Parallel()
	seen := map[string]bool{}
	for _, m := range slices.Concat(mutants, covered) {
		if configuration(m.In).Name == "" || m.Rules == (Rules{}) {
			t.Errorf("%s is looked for in %q with %+v", m.Name, m.In, m.Rules)
		}
	}
	for _, m := range mutants {
		if seen[m.Name] {
			t.Errorf("%s is there twice", m.Name)
		}
		seen[m.Name] = true
	}
}

// The last stable offset, compaction and the target of a read, by hand.
func TestReadUpToTheEnd(t *testing.T) {
	t.Parallel()
	w := newWorld(configuration("pair"), Rules{})
	s := w.first()
	s.R[0].PC, s.R[0].Has, s.Holder[0] = pcEnd, 1, who(0)
	s.open(0, onCheckpoints)
	s.appendCheckpoint(ofAnother)
	s.appendCheckpoint(checkpoint(1, 2, 2, streaming).tagged(ofID0))
	s.R[1].PC, s.R[1].Target = pcRead, s.length()
	w.mark(&s, 0, onCheckpoints) // an abort: the record is gone
	w.advance(&s)
	if s.R[1].PC != pcRead || s.R[1].Target != 1 {
		t.Fatalf("the read went on below an open transaction: %+v", s.R[1])
	}
	s.dropCheckpoint(0)
	w.advance(&s)
	if s.R[1].PC != pcGuard || s.R[1].Cp != s.Base {
		t.Fatalf("the read did not end with the last stable offset: %+v", s.R[1])
	}
}
