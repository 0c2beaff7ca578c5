package replication

import (
	"errors"
	"fmt"
	"runtime"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/cdc-relay/cdc-relay/internal/event"
	"github.com/cdc-relay/cdc-relay/test/stack"
)

func TestWakeIsNeverLost(t *testing.T) {
	t.Parallel()
	everyPath(t, func(t *testing.T, d *db, o Options) {
		s := take(t, o)
		s.Wake()
		var m event.Msg
		if err := s.Next(&m); err != nil || m.Kind != event.Wake {
			t.Fatalf("Wake before Next: got %v, %v", m.Kind, err)
		}
		// One Wake after the other, each answered by a Wake soon; rows come meanwhile.
		const wakes, n = 300, 3000
		answered := make(chan struct{}, 1)
		var wg sync.WaitGroup
		slow := 0
		wg.Go(func() {
			for range wakes {
				asked := time.Now()
				s.Wake()
				<-answered
				if time.Since(asked) > s.stream.tick/2 {
					slow++
				}
			}
		})
		var writeErr error
		wg.Go(func() {
			for i := range 30 {
				_, err := d.conn.Exec(within(t), fmt.Sprintf("insert into outbox select %d + i, repeat('z', 3000) from generate_series(1, %d) i", i*n/30, n/30))
				writeErr = errors.Join(writeErr, err)
			}
		})
		got, woke := 0, 0
		for got < n || woke < wakes {
			if err := s.Next(&m); err != nil {
				t.Fatal(err)
			}
			switch m.Kind {
			case event.Wake:
				woke++
				select {
				case answered <- struct{}{}:
				default:
				}
			case event.Row:
				got++
				if string(m.Cols[0]) != strconv.Itoa(got) || len(m.Cols[1]) != 3000 {
					t.Fatalf("row %d is %s with %d bytes", got, m.Cols[0], len(m.Cols[1]))
				}
			}
		}
		done := make(chan struct{})
		go func() { wg.Wait(); close(done) }()
		for open := true; open; { // a tick may have counted as an answer
			select {
			case <-done:
				open = false
			case answered <- struct{}{}:
			}
		}
		if writeErr != nil {
			t.Fatal(writeErr)
		}
		if slow > wakes/10 {
			t.Errorf("%d of %d wakes took longer than half a tick", slow, wakes)
		}
	})
}

// everyPath runs f over TCP, TLS and a Unix socket.
func everyPath(t *testing.T, f func(*testing.T, *db, Options)) {
	for _, path := range []string{"tcp", "tls", "unix"} {
		t.Run(path, func(t *testing.T) {
			t.Parallel()
			pg := stack.Postgres(t, stack.TLS())
			d, o := pipe(t, pg)
			name := d.text("select current_database()")
			switch path {
			case "tls":
				o.URL = pg.TLSURL(name)
			case "unix":
				o.URL = pg.SocketURL(name)
			}
			f(t, d, o)
		})
	}
}

// A message that is read in pieces survives the deadlines that pass meanwhile.
func TestLargeRowUnderWakes(t *testing.T) {
	t.Parallel()
	everyPath(t, func(t *testing.T, d *db, o Options) {
		s := take(t, o)
		const size = 12 << 20
		d.exec(fmt.Sprintf("insert into outbox select 1, string_agg(md5(i::text), '') from generate_series(1, %d) i", size/32))
		want := d.text("select md5(payload) from outbox")
		stop := make(chan struct{})
		var wg sync.WaitGroup
		wg.Go(func() {
			for {
				select {
				case <-stop:
					return
				default:
					s.Wake()
					runtime.Gosched()
				}
			}
		})
		defer wg.Wait()
		defer close(stop)
		got := rows(read(t, s, func(k seen) bool { return k.Kind == event.Row }))[0].Values[1]
		if len(got) != size || d.text("select md5('"+got+"')") != want {
			t.Fatalf("%d bytes, another content than the %d that were written", len(got), size)
		}
	})
}
