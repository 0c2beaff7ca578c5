package faults

import (
	"io"
	"net"
	"net/url"
	"os"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/cdc-relay/cdc-relay/test/e2e/lab"
	"github.com/cdc-relay/cdc-relay/test/rig"
	"github.com/cdc-relay/cdc-relay/test/stack"
)

// door is an address of its own in front of a server: shut, it refuses
// connections and cuts those there are; open, it passes them on. The port stays
// bound all along, so nobody else gets it.
type door struct {
	to     string
	socket *os.File
	addr   string

	mu    sync.Mutex
	l     net.Listener
	conns []net.Conn
	tasks sync.WaitGroup
}

// newDoor makes a door that is shut.
func newDoor(l *lab.Lab, to string) *door {
	l.Helper()
	fd, err := syscall.Socket(syscall.AF_INET, syscall.SOCK_STREAM, 0)
	l.Check(err)
	syscall.CloseOnExec(fd)
	d := &door{to: to, socket: os.NewFile(uintptr(fd), "door")}
	l.Cleanup(func() {
		d.shut()
		d.tasks.Wait()
		d.socket.Close() // the test is over
	})
	l.Check(syscall.Bind(fd, &syscall.SockaddrInet4{Addr: [4]byte{127, 0, 0, 1}}))
	name, err := syscall.Getsockname(fd)
	l.Check(err)
	d.addr = (&net.TCPAddr{IP: net.IPv4(127, 0, 0, 1), Port: name.(*syscall.SockaddrInet4).Port}).String()
	return d
}

// open lets connections pass.
func (d *door) open(l *lab.Lab) {
	l.Helper()
	d.mu.Lock()
	defer d.mu.Unlock()
	l.Check(syscall.Listen(int(d.socket.Fd()), 64))
	ln, err := net.FileListener(d.socket) // a copy of the descriptor
	l.Check(err)
	d.l = ln
	d.tasks.Go(func() {
		for {
			in, err := ln.Accept()
			if err != nil {
				return
			}
			out, err := net.Dial("tcp", d.to)
			if err != nil {
				in.Close() // nobody is behind the door
				continue
			}
			d.mu.Lock()
			d.conns = append(d.conns, in, out)
			d.mu.Unlock()
			d.tasks.Go(func() { pass(in, out) })
			d.tasks.Go(func() { pass(out, in) })
		}
	})
}

func pass(to, from net.Conn) {
	io.Copy(to, from) // either end may end it
	to.Close()        // the second time it is closed already
	from.Close()      // as above
}

// shut refuses and cuts connections, for good: a socket that listened cannot be
// made to refuse again without giving the port away.
func (d *door) shut() {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.l == nil {
		return
	}
	_ = syscall.Shutdown(int(d.socket.Fd()), syscall.SHUT_RDWR) // wakes Accept, refuses from now on
	d.l.Close()                                                 // as above
	for _, c := range d.conns {
		c.Close() // as above
	}
	d.l, d.conns = nil, nil
}

// behind puts a door in front of the registry.
func behind(d **door) lab.Setup {
	return func(l *lab.Lab, c *rig.Config) {
		if l.SR == nil {
			l.SR = stack.Registry(l.T)
		}
		u, err := url.Parse(l.SR.URL())
		l.Check(err)
		*d = newDoor(l, u.Host)
		u.Host = (*d).addr
		c.Registry = u.String()
	}
}

// Without the registry nothing can be framed: a relay that starts says which
// registry it cannot reach, asks again, and starts when it is there. Once it
// streams it needs no registry any more.
func TestRegistryDown(t *testing.T) {
	var d *door
	l := lab.New(t, behind(&d))
	r := l.Launch("run")
	line := l.Logged(r, "not ready to start, trying again", 30*time.Second)
	for _, want := range []string{d.addr, "it cannot be reached", "connection refused"} {
		if !strings.Contains(line, want) {
			t.Errorf("the log does not say %q: %s", want, line)
		}
	}
	if code := l.ReadyCode(r); code != 503 {
		t.Errorf("/readyz without the registry: %d, want 503", code)
	}
	d.open(l)
	l.Check(r.Ready(l.Ctx(30 * time.Second)))
	l.Writes("a", 50)
	l.Delivered(l.Reader(), 50, time.Minute)

	d.shut()
	l.Writes("bb", 200)
	l.Settled(time.Minute)
	if n := l.Restarts(r); n != 0 {
		t.Errorf("without the registry the relay started again %d times:\n%s", n, r.Log())
	}
	l.Stops(r)

	r = l.Launch("run")
	l.Logged(r, "it cannot be reached", 30*time.Second)
	l.Stops(r) // it may be told to stop while it waits
}
