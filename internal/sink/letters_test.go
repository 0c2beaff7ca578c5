package sink

import (
	"fmt"
	"slices"
	"testing"

	"github.com/cdc-relay/cdc-relay/internal/event"
	"github.com/cdc-relay/cdc-relay/internal/kafka"
	"github.com/cdc-relay/cdc-relay/test/stack"
)

// Letters are committed with the records and the checkpoint, and read with the
// authority of the fence: nothing of a transaction that is aborted by it.
func TestLetters(t *testing.T) {
	t.Parallel()
	k := stack.Broker(t)
	b := newBench(t, k)
	topic := k.Topic(t, 1, nil)
	letters := k.Topic(t, 1, map[string]string{"cleanup.policy": "compact"})
	with := func(o *Options) { o.Topics, o.DeadLetters, o.LettersNeeded = []string{topic}, letters, true }
	first := b.sink("p", with)
	start(t, first)
	mixed := func(tag string, lsn event.LSN) *event.Batch {
		out := batch(topic, tag, 2, lsn)
		out.Records = append(out.Records, batch(letters, "letter-"+tag, 1, lsn).Records...)
		return out
	}
	if err := first.Commit(t.Context(), mixed("a", 10)); err != nil {
		t.Fatal(err)
	}
	if err := first.open1(t.Context(), mixed("open", 20)); err != nil {
		t.Fatal(err)
	}
	s := b.sink("p", with)
	start(t, s)
	var got []string
	each := func(r *kafka.Scanned) error {
		got = append(got, fmt.Sprintf("%d %s", r.Offset, r.Value))
		return nil
	}
	next, err := s.Letters(t.Context(), 0, each)
	if err != nil || !slices.Equal(got, []string{"0 letter-a-0"}) {
		t.Fatalf("%q, %v", got, err)
	}
	if err := s.Commit(t.Context(), mixed("b", 20)); err != nil {
		t.Fatal(err)
	}
	got = nil
	if next, err = s.Letters(t.Context(), next, each); err != nil || len(got) != 1 || got[0][len(got[0])-10:] != "letter-b-0" {
		t.Fatalf("%q, %v", got, err)
	}
	got = nil
	if again, err := s.Letters(t.Context(), next, each); err != nil || again < next || got != nil { // a marker may have come
		t.Errorf("%q, %d, %v", got, again, err)
	}
	if err := s.LettersAgain(t.Context(), 0, 1, each); err != nil || !slices.Equal(got, []string{"0 letter-a-0"}) {
		t.Errorf("%q, %v", got, err)
	}
}

func TestLetterTopicIsChecked(t *testing.T) {
	t.Parallel()
	k := stack.Broker(t)
	b := newBench(t, k)
	look := func(topic string, needed bool) error {
		s := b.sink("p", func(o *Options) { o.DeadLetters, o.LettersNeeded = topic, needed })
		defer s.Close()
		if _, err := s.Look(t.Context()); err != nil {
			return err
		}
		_, err := s.Letters(t.Context(), 0, nil)
		return err
	}
	if err := look("nobody-"+b.cp, false); err != nil {
		t.Errorf("a topic that is not needed: %v", err)
	}
	wantVerdict(t, look("nobody-"+b.cp, true), event.Refuse, "no dead letter topic", "cdc-relay topics apply")
	both := k.Topic(t, 1, map[string]string{"cleanup.policy": "compact,delete"})
	wantVerdict(t, look(both, false), event.Refuse, both, "exactly compact")
	wide := k.Topic(t, 2, map[string]string{"cleanup.policy": "compact"})
	wantVerdict(t, look(wide, true), event.Refuse, wide, "2 partitions")
}
