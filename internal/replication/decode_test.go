package replication

import (
	"bytes"
	"encoding/binary"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgproto3"

	"github.com/cdc-relay/cdc-relay/internal/event"
	"github.com/cdc-relay/cdc-relay/test/stack"
)

var update = flag.Bool("update", false, "record testdata/stream.bin from a real server")

const recording = "testdata/stream.bin"

// TestRecord writes what a real server sends; the other tests of this file and
// the fuzz target start from it.
func TestRecord(t *testing.T) {
	if !*update {
		if _, err := os.Stat(recording); err != nil {
			t.Fatalf("%v; run the test with -update", err)
		}
		return
	}
	d, o := pipe(t, stack.Postgres(t))
	o.MessagePrefix = "evt"
	d.exec(`alter publication "relay pub" add table other`, `alter publication "relay pub" set (publish = 'insert, update, delete, truncate')`,
		"begin", "insert into outbox values (1, 'a'), (2, null), (3, '')", "select pg_logical_emit_message(true, 'evt', 'hello')",
		"insert into other values (1, 'x')", "update other set v = 'y'", "delete from other", "commit",
		"truncate other", "select pg_logical_emit_message(false, 'evt', 'loose')",
		"create type mood as enum ('sad')", "alter table outbox add column m mood", "insert into outbox values (4, 'last', 'sad')")
	s := take(t, o)
	var raw []byte
	for n := 0; n < 3; {
		msg, err := s.stream.fe.Receive()
		if err != nil {
			if isTimeout(err) {
				if _, err := s.stream.onTimeout(s, false); err != nil {
					t.Fatal(err)
				}
				continue
			}
			t.Fatal(err)
		}
		cd, ok := msg.(*pgproto3.CopyData)
		if !ok {
			t.Fatalf("%T", msg)
		}
		if raw, err = cd.Encode(raw); err != nil {
			t.Fatal(err)
		}
		if cd.Data[0] == frameData && cd.Data[25] == 'C' {
			n++
		}
	}
	if err := os.MkdirAll("testdata", 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(recording, raw, 0o644); err != nil { //nolint:gosec // a test file for everyone
		t.Fatal(err)
	}
}

// frames returns the CopyData payloads of the recording.
func frames(t testing.TB) [][]byte {
	t.Helper()
	raw, err := os.ReadFile(recording)
	if err != nil {
		t.Fatal(err)
	}
	var list [][]byte
	for len(raw) > 0 {
		n := 1 + int(binary.BigEndian.Uint32(raw[1:]))
		list = append(list, raw[5:n])
		raw = raw[n:]
	}
	return list
}

func newTracker() *tracker {
	return &tracker{prefix: "evt", names: map[string]bool{"public.outbox": true}}
}

// digest decodes frames as a stream would and prints what comes out.
func digest(list [][]byte) (out []string, err error) {
	t := newTracker()
	for _, data := range list {
		f, err := decodeFrame(data)
		if err != nil {
			return out, err
		}
		if f.Kind == frameAlive {
			continue
		}
		var m event.Msg
		o, err := t.read(f.Body, &m)
		if err != nil {
			return out, at(err, f.Start)
		}
		switch {
		case o == emitted && m.Kind == event.Row:
			out = append(out, lines([]seen{keep(&m)})...)
		case o == emitted:
			out = append(out, fmt.Sprintf("kind %d", m.Kind))
		case o != silent:
			out = append(out, fmt.Sprintf("skipped %d", o))
		}
	}
	return out, nil
}

func TestRecordedStream(t *testing.T) {
	t.Parallel()
	got, err := digest(frames(t))
	if err != nil {
		t.Fatal(err)
	}
	same(t, got, []string{
		"kind 1", "1 public.outbox [1 a]", "2 public.outbox [2 NULL]", "3 public.outbox [3 ]", "4 evt=hello",
		"skipped 5", "skipped 2", "skipped 3", "kind 3", "kind 1", "skipped 4", "kind 3", "skipped 7", "kind 1",
		"1 public.outbox [4 last sad]", "kind 3",
	})
}

// Every message cut at every byte, and with a byte too many, is an error that
// says where, not a panic and not a row.
func TestCutMessages(t *testing.T) {
	t.Parallel()
	for _, data := range frames(t) {
		for n := range len(data) + 1 {
			cut := append([]byte(nil), data[:n]...)
			if n == len(data) {
				cut = append(cut, 0)
			}
			// Updates and the like are counted by their type only.
			if f, err := decodeFrame(cut); err == nil && len(f.Body) > 0 && strings.IndexByte("UDTYO", f.Body[0]) >= 0 {
				continue
			}
			tr := newTracker()
			tr.inTx, tr.pos.Commit = data[0] == frameData && data[25] != 'B', 1
			tr.rels = map[uint32]*relation{}
			if data[0] == frameData && data[25] == 'I' {
				oid := binary.BigEndian.Uint32(data[26:])
				cols := make([]event.Column, binary.BigEndian.Uint16(data[31:]))
				tr.rels[oid] = &relation{Relation: &event.Relation{OID: oid, Columns: cols}, ours: true}
			}
			err := feed(tr, cut)
			bad, ok := errors.AsType[*Malformed](err)
			if !ok {
				t.Fatalf("%q cut at %d of %d: %v, want Malformed", data, n, len(data), err)
			}
			if bad.Offset > len(cut) {
				t.Fatalf("offset %d of %d bytes", bad.Offset, len(cut))
			}
		}
	}
}

func feed(tr *tracker, data []byte) error {
	f, err := decodeFrame(data)
	if err != nil || f.Kind == frameAlive {
		return err
	}
	var m event.Msg
	_, err = tr.read(f.Body, &m)
	return at(err, f.Start)
}

func TestOutOfOrderMessages(t *testing.T) {
	t.Parallel()
	be := func(v ...uint64) (b []byte) {
		for _, x := range v {
			b = binary.BigEndian.AppendUint64(b, x)
		}
		return b
	}
	begin := func(lsn uint64) []byte { return append(append([]byte{'B'}, be(lsn, 0)...), 0, 0, 0, 9) }
	commit := func(lsn, end uint64) []byte { return append([]byte{'C', 0}, be(lsn, end, 0)...) }
	insert := []byte("I\x00\x00\x00\x07N\x00\x01n")
	relation := append([]byte("R\x00\x00\x00\x07public\x00outbox\x00d\x00\x01\x00id\x00"), 0, 0, 0, 20, 255, 255, 255, 255)
	for name, c := range map[string]struct {
		in   [][]byte
		want string
	}{
		"begin in a transaction":   {[][]byte{begin(5), begin(6)}, "inside the transaction 0/5"},
		"commit of another":        {[][]byte{begin(5), commit(6, 7)}, "the open transaction is 0/5"},
		"commit of none":           {[][]byte{commit(6, 7)}, "the open transaction is none"},
		"commit that ends nowhere": {[][]byte{begin(5), commit(5, 5)}, "ends at 0/5"},
		"not in commit order":      {[][]byte{begin(5), commit(5, 6), begin(5)}, "not in commit order"},
		"insert outside":           {[][]byte{relation, insert}, "outside of a transaction"},
		"relation unknown":         {[][]byte{begin(5), insert}, "relation 7 was never announced"},
		"unchanged value":          {[][]byte{begin(5), relation, []byte("I\x00\x00\x00\x07N\x00\x01u")}, "unchanged out-of-line value"},
		"binary value":             {[][]byte{begin(5), relation, []byte("I\x00\x00\x00\x07N\x00\x01b\x00\x00\x00\x00")}, "binary format"},
		"columns missing":          {[][]byte{begin(5), relation, []byte("I\x00\x00\x00\x07N\x00\x00")}, "0 columns, 1 were announced"},
		"old tuple in an insert":   {[][]byte{begin(5), relation, []byte("I\x00\x00\x00\x07O\x00\x01n")}, "want a new tuple"},
		"streamed transaction":     {[][]byte{[]byte("S\x00\x00\x00\x01\x01")}, "unknown type"},
		"nothing":                  {[][]byte{{}}, "empty message"},
	} {
		tr := newTracker()
		var err error
		for _, b := range c.in {
			var m event.Msg
			if _, err = tr.read(b, &m); err != nil {
				err = at(err, 0x2A)
				break
			}
		}
		if err == nil || !strings.Contains(err.Error(), c.want) || !strings.Contains(err.Error(), "LSN 0/2A") {
			t.Errorf("%s: %v, want %q", name, err, c.want)
		}
	}
}

// FuzzDecode: whatever comes, no panic; what is emitted lies within the input.
func FuzzDecode(f *testing.F) {
	list := frames(f)
	for _, data := range list {
		f.Add(data, data)
	}
	for i := 1; i < len(list); i++ {
		f.Add(list[i-1], list[i])
	}
	f.Fuzz(func(t *testing.T, a, b []byte) {
		tr := newTracker()
		for i := range 8 {
			for _, data := range list[:i] {
				_ = feed(tr, data) // brings the tracker into a state
			}
			for _, data := range [][]byte{a, b} {
				frame, err := decodeFrame(data)
				if err != nil || frame.Kind == frameAlive {
					continue
				}
				var m event.Msg
				before := tr.pos
				out, err := tr.read(frame.Body, &m)
				if err != nil || out != emitted {
					continue
				}
				checkEmitted(t, tr, &m, before, frame.Body)
			}
		}
	})
}

func checkEmitted(t *testing.T, tr *tracker, m *event.Msg, before event.Position, body []byte) {
	t.Helper()
	size := len(m.Content)
	for _, c := range m.Cols {
		size += len(c)
	}
	if size > len(body) {
		t.Fatalf("%d bytes out of a message of %d", size, len(body))
	}
	if m.Kind == event.Row && m.Pos != (event.Position{Commit: before.Commit, Ord: before.Ord + 1}) {
		t.Fatalf("row at %s after %s", m.Pos, before)
	}
	if m.Rel != nil && len(m.Cols) != len(m.Rel.Columns) {
		t.Fatalf("%d columns of %d", len(m.Cols), len(m.Rel.Columns))
	}
	if m.Kind == event.Commit && (tr.inTx || m.End <= m.Pos.Commit) {
		t.Fatalf("commit %+v", m)
	}
}

// loop replays one transaction of n rows for ever, each time at a later LSN.
type loop struct {
	chunk  []byte
	begins int // offset of the commit LSN in BEGIN
	ends   int // and of that in COMMIT
	off    int
	lsn    uint64
}

func newLoop(rows, size int) *loop {
	l := &loop{lsn: 100}
	add := func(body []byte) int {
		l.chunk = append(l.chunk, 'd')
		l.chunk = binary.BigEndian.AppendUint32(l.chunk, uint32(4+25+len(body)))
		l.chunk = append(append(l.chunk, 'w'), make([]byte, 24)...)
		l.chunk = append(l.chunk, body...)
		return len(l.chunk) - len(body)
	}
	l.begins = add(append([]byte{'B'}, make([]byte, 20)...)) + 1
	relation := append([]byte("R\x00\x00\x00\x07public\x00outbox\x00d\x00\x02\x00id\x00"), 0, 0, 0, 20, 255, 255, 255, 255)
	add(append(append(relation, "\x00payload\x00"...), 0, 0, 0, 25, 255, 255, 255, 255))
	payload := bytes.Repeat([]byte{'p'}, size)
	for range rows {
		row := append([]byte("I\x00\x00\x00\x07N\x00\x02t\x00\x00\x00\x0242t"), binary.BigEndian.AppendUint32(nil, uint32(size))...)
		add(append(row, payload...))
	}
	l.ends = add(append([]byte{'C'}, make([]byte, 25)...)) + 2
	return l
}

func (l *loop) Read(p []byte) (int, error) {
	if l.off == len(l.chunk) {
		l.off = 0
	}
	if l.off == 0 {
		l.lsn += 100
		binary.BigEndian.PutUint64(l.chunk[l.begins:], l.lsn)
		binary.BigEndian.PutUint64(l.chunk[l.ends:], l.lsn)
		binary.BigEndian.PutUint64(l.chunk[l.ends+8:], l.lsn+50)
	}
	n := copy(p, l.chunk[l.off:])
	l.off += n
	return n, nil
}

func (*loop) Write(p []byte) (int, error)      { return len(p), nil }
func (*loop) SetReadDeadline(time.Time) error  { return nil }
func (*loop) SetWriteDeadline(time.Time) error { return nil }

// replayed is a Source whose socket is l.
func replayed(t testing.TB, l *loop) *Source {
	s := New(Options{Slot: "s", Publication: "p", Tables: []string{"public.outbox"}})
	st, err := newStream(t.Context(), pgproto3.NewFrontend(l, io.Discard), l, 1, time.Minute)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(st.cancel)
	st.track, st.met = newTracker(), s.met
	st.track.announced = s.announced
	s.stream = st
	return s
}

// Not parallel: AllocsPerRun counts the whole process.
func TestNextDoesNotAllocate(t *testing.T) {
	// Rows beyond the frontend's 8 KiB come through pgx's pool of buffers, which
	// the race detector empties at random.
	for _, size := range []int{10, 1000, 7000} {
		s := replayed(t, newLoop(100, size))
		var m event.Msg
		got := testing.AllocsPerRun(20, func() {
			for n := 0; n < 100; {
				if err := s.Next(&m); err != nil {
					t.Fatal(err)
				}
				if m.Kind == event.Row {
					n++
				}
			}
		})
		// One announcement of the relation per 100 rows is what is left.
		if got > 15 {
			t.Errorf("%.0f allocations for 100 rows of %d bytes", got, size)
		}
	}
}

func BenchmarkNext(b *testing.B) {
	for _, c := range []struct{ rows, size int }{{1, 1000}, {1000, 1000}, {1000, 100}} {
		b.Run(fmt.Sprintf("txn%d/%dB", c.rows, c.size), func(b *testing.B) {
			s := replayed(b, newLoop(c.rows, c.size))
			b.ReportAllocs()
			b.SetBytes(int64(c.size))
			var m event.Msg
			for n := 0; n < b.N; {
				if err := s.Next(&m); err != nil {
					b.Fatal(err)
				}
				if m.Kind == event.Row {
					n++
				}
			}
		})
	}
}
