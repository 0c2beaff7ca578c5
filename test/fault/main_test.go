package fault

import (
	"errors"
	"io"
	"net"
	"os"
	"syscall"
	"testing"
	"time"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// silence is how long a test listens to be sure that nothing comes.
const silence = 60 * time.Millisecond

// server is a target that hands its connections to the test.
func server(t *testing.T) (addr string, conns <-chan *net.TCPConn) {
	t.Helper()
	ln, err := net.ListenTCP("tcp", &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1)})
	if err != nil {
		t.Fatal(err)
	}
	got := make(chan *net.TCPConn, 16)
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		for {
			c, err := ln.AcceptTCP()
			if err != nil {
				close(got)
				return
			}
			got <- c
		}
	}()
	t.Cleanup(func() {
		_ = ln.Close()
		<-ended
		for c := range got {
			_ = c.Close()
		}
	})
	return ln.Addr().String(), got
}

func proxy(t *testing.T, listen func(string) (*Proxy, error), target string) *Proxy {
	t.Helper()
	p, err := listen(target)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := p.Close(); err != nil {
			t.Error(err)
		}
	})
	return p
}

// conn is an end with bounds and short words.
type conn struct {
	*net.TCPConn
	t *testing.T
}

func dial(t *testing.T, p *Proxy) conn {
	t.Helper()
	c, err := net.Dial("tcp", p.Addr())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	return conn{c.(*net.TCPConn), t}
}

// accepted returns the target's end of the next connection.
func accepted(t *testing.T, conns <-chan *net.TCPConn) conn {
	t.Helper()
	select {
	case c := <-conns:
		t.Cleanup(func() { _ = c.Close() })
		return conn{c, t}
	case <-time.After(10 * time.Second):
		t.Fatal("no connection reached the target")
		return conn{}
	}
}

func pair(t *testing.T, p *Proxy, conns <-chan *net.TCPConn) (client, target conn) {
	t.Helper()
	client = dial(t, p)
	return client, accepted(t, conns)
}

func (c conn) send(s string) {
	c.t.Helper()
	if _, err := io.WriteString(c, s); err != nil {
		c.t.Fatal(err)
	}
}

func (c conn) want(s string) {
	c.t.Helper()
	got := make([]byte, len(s))
	_ = c.SetReadDeadline(time.Now().Add(10 * time.Second))
	if n, err := io.ReadFull(c, got); err != nil || string(got) != s {
		c.t.Fatalf("read %q, %v; want %q", got[:n], err, s)
	}
}

// mute demands that nothing comes, not even an end.
func (c conn) mute() {
	c.t.Helper()
	_ = c.SetReadDeadline(time.Now().Add(silence))
	if n, err := c.Read(make([]byte, 1)); !errors.Is(err, os.ErrDeadlineExceeded) {
		c.t.Fatalf("read %d bytes, %v; want silence", n, err)
	}
}

// ends demands that the next thing is the connection's end, by this error.
func (c conn) ends(want error) {
	c.t.Helper()
	_ = c.SetReadDeadline(time.Now().Add(10 * time.Second))
	if n, err := c.Read(make([]byte, 1)); !errors.Is(err, want) {
		c.t.Fatalf("read %d bytes, %v; want %v", n, err, want)
	}
}

func (c conn) isReset() { c.t.Helper(); c.ends(syscall.ECONNRESET) }

func closed(t *testing.T, c <-chan struct{}) {
	t.Helper()
	select {
	case <-c:
	case <-time.After(10 * time.Second):
		t.Fatal("the hook did not fire")
	}
}

func open(t *testing.T, c <-chan struct{}) {
	t.Helper()
	select {
	case <-c:
		t.Fatal("the hook fired too soon")
	default:
	}
}
