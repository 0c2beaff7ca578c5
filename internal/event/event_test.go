package event

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"
)

func TestLSN(t *testing.T) {
	t.Parallel()
	for _, s := range []string{"0/0", "16/B3748", "FFFFFFFF/FFFFFFFF"} {
		l, err := ParseLSN(s)
		if err != nil || l.String() != s {
			t.Errorf("ParseLSN(%q) = %s, %v", s, l, err)
		}
	}
	for _, s := range []string{"", "16", "16/", "/1", "g/1", "1/g", "100000000/0", "0/100000000", "-1/0", "1/2/3"} {
		if l, err := ParseLSN(s); err == nil {
			t.Errorf("ParseLSN(%q) = %s, want an error", s, l)
		}
	}
}

func TestSavedReadsBackToTheSameCheckpoint(t *testing.T) {
	t.Parallel()
	at := time.Date(2026, 1, 2, 3, 4, 5, 678901000, time.UTC).UnixMicro()
	cp := Checkpoint{Last: Position{Commit: 0x16B3748, Ord: 3}, XID: 742, Safe: 0x16B3778, Time: at, Events: 9, Cursor: "c"}
	text, err := json.Marshal(Saved{V: 1, State: StateStreaming, Slot: "s"}.At(cp))
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{`"last":{"commit_lsn":"0/16B3748","ordinal":3,"xid":742}`, `"safe_lsn":"0/16B3778"`, `"commit_time":"2026-01-02T03:04:05.678901Z"`} {
		if !strings.Contains(string(text), want) {
			t.Errorf("%s lacks %s", text, want)
		}
	}
	var back Saved
	if err := json.Unmarshal(text, &back); err != nil {
		t.Fatal(err)
	}
	if got := back.Checkpoint(); got != cp {
		t.Errorf("read back %+v, want %+v", got, cp)
	}
	none := Saved{V: 1}.At(Checkpoint{Safe: 5})
	if none.Last != nil || none.Checkpoint().Last != (Position{}) {
		t.Errorf("no row yet: %+v", none)
	}
}

func TestVerdictOf(t *testing.T) {
	t.Parallel()
	err := fmt.Errorf("start: %w", Refusef("cdc-relay slots adopt", "slot %s exists", "s"))
	if VerdictOf(err) != Refuse || VerdictOf(errors.New("x")) != Restart || VerdictOf(nil) != Restart {
		t.Error("verdicts")
	}
	if want := "start: slot s exists\n  next: cdc-relay slots adopt"; err.Error() != want {
		t.Errorf("%q, want %q", err, want)
	}
}

func TestBatchOwnsItsBytes(t *testing.T) {
	t.Parallel()
	pool := NewPool(1 << 20)
	b := NewBatch(pool)
	var kept [][]byte
	var want []string
	for i := range 3000 {
		text := strings.Repeat(fmt.Sprintf("%d;", i), 1+i%200)
		hint := len(text)
		if i%3 == 0 {
			hint = 1 // too small: append may move it
		}
		kept = append(kept, b.Keep(append(b.Buf(hint), text...)))
		want = append(want, text)
		hs := b.KeepHeaders(append(b.HeaderBuf(1), Header{Key: "k", Value: kept[i]}, Header{Key: "l"}))
		if len(hs) != 2 || cap(hs) != 2 {
			t.Fatalf("headers len %d cap %d", len(hs), cap(hs))
		}
	}
	total := 0
	for i := range kept {
		total += len(want[i])
		if !bytes.Equal(kept[i], []byte(want[i])) {
			t.Fatalf("slice %d was overwritten", i)
		}
	}
	if b.Bytes != total {
		t.Errorf("Bytes = %d, want %d", b.Bytes, total)
	}
	if !b.Short() || pool.InUse() < int64(total) {
		t.Errorf("in use %d of %d kept, short %v", pool.InUse(), total, b.Short())
	}
	b.Reset()
	if pool.InUse() != 0 || b.Short() || len(b.Records) != 0 || b.Bytes != 0 {
		t.Errorf("after Reset: in use %d, %+v", pool.InUse(), b)
	}
}

func TestBatchTakesWhatIsLargerThanAChunk(t *testing.T) {
	t.Parallel()
	pool := NewPool(1 << 20)
	b := NewBatch(pool)
	big := bytes.Repeat([]byte("x"), 3*ChunkBytes)
	got := b.Keep(append(b.Buf(10), big...))
	small := b.Keep(append(b.Buf(2), "ab"...))
	if !bytes.Equal(got, big) || string(small) != "ab" {
		t.Error("wrong bytes")
	}
	b.Reset()
	if pool.InUse() != 0 {
		t.Errorf("in use %d after Reset", pool.InUse())
	}
}

func TestBatchAllocatesNothingInSteadyState(t *testing.T) {
	b := NewBatch(NewPool(16 << 20))
	payload := bytes.Repeat([]byte("p"), 1000)
	fill := func() {
		for range 1000 {
			v := b.Keep(append(b.Buf(len(payload)), payload...))
			hs := b.KeepHeaders(append(b.HeaderBuf(2), Header{Key: "a", Value: v[:10]}, Header{Key: "b", Value: v[10:20]}))
			b.Records = append(b.Records, Record{Value: v, Headers: hs})
		}
		b.Reset()
	}
	fill()
	if n := testing.AllocsPerRun(20, fill); n > 0 {
		t.Errorf("%.1f allocations for 1000 records", n)
	}
}
