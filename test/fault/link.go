package fault

import (
	"bufio"
	"context"
	"errors"
	"io"
	"net"
	"os"
	"sync"
	"time"
)

// bufferSize is how much a direction holds at most while it is frozen.
const bufferSize = 64 << 10

// errEnded ends a direction whose link was reset.
var errEnded = errors.New("the link was ended")

// link is one connection through the proxy.
//
//	OPEN ──freeze──► FROZEN ──thaw──► OPEN        vanish: FROZEN for ever
//	any ──reset──► ENDED
type link struct {
	proxy  *Proxy
	client *net.TCPConn
	ended  chan struct{}

	mu     sync.Mutex
	server *net.TCPConn      // nil until connected
	shut   chan struct{}     // not nil: frozen; closed by thaw
	gone   bool              // vanished
	over   bool              // ended
	drop   map[int32]*answer // by correlation id: answers to swallow,
	asked  map[int32]*asked  // and answers that are waited for
	kept   bool              // a request of it is late
	lost   chan struct{}     // closed when the server has ended a link that keeps a request

	up, down sync.Mutex // held while bytes are written to server, to client
}

func newLink(p *Proxy, client *net.TCPConn) *link {
	return &link{proxy: p, client: client, ended: make(chan struct{}), drop: map[int32]*answer{}, asked: map[int32]*asked{}, lost: make(chan struct{})}
}

// run forwards until both directions have ended.
func (l *link) run(ctx context.Context) {
	server, err := l.dial(ctx)
	if err != nil {
		l.reset()
		return
	}
	defer l.end((*net.TCPConn).Close)
	if d := l.proxy.delaying(); d != nil {
		l.delay(d, server)
		return
	}
	requests, answers := l.copyPlain, l.copyPlain
	if l.proxy.kafka {
		requests, answers = l.copyRequests, l.copyAnswers
	}
	var wg sync.WaitGroup
	wg.Go(func() { l.direction(side{to: server, writing: &l.up}, l.client, requests) })
	wg.Go(func() { l.direction(side{to: l.client, writing: &l.down}, server, answers) })
	wg.Wait()
}

// dial connects to the target, after a thaw if the proxy is frozen. A target
// that refuses makes the client see a reset.
func (l *link) dial(ctx context.Context) (*net.TCPConn, error) {
	if err := l.pass(); err != nil {
		return nil, err
	}
	var d net.Dialer
	c, err := d.DialContext(ctx, "tcp", l.proxy.target)
	if err != nil {
		return nil, err
	}
	server := c.(*net.TCPConn)
	l.mu.Lock()
	over, frozen := l.over, l.shut != nil
	l.server = server
	if over {
		_ = abort(server)
	} else if frozen {
		_ = server.SetWriteDeadline(past)
	}
	l.mu.Unlock()
	if over {
		return nil, errEnded
	}
	return server, nil
}

// side is where a direction writes to.
type side struct {
	to      *net.TCPConn
	writing *sync.Mutex
}

// direction copies from one side to the other and passes its end on: an end of
// file as one, anything else as a reset.
func (l *link) direction(to side, from io.Reader, copy func(side, *bufio.Reader) error) {
	err := copy(to, bufio.NewReaderSize(from, bufferSize))
	if l.pass() != nil || from != l.client && l.outlives(from) {
		return
	}
	if errors.Is(err, io.EOF) && to.to.CloseWrite() == nil {
		return
	}
	l.reset()
}

// copyPlain copies what comes, until an error; io.EOF is one.
func (l *link) copyPlain(to side, from *bufio.Reader) error {
	buf := make([]byte, bufferSize)
	for {
		n, err := from.Read(buf)
		if serr := l.send(to, buf[:n]); serr != nil {
			return serr
		}
		if err != nil {
			return err
		}
	}
}

// send writes b, or as much of it as goes before a freeze; the rest waits.
func (l *link) send(to side, b []byte) error {
	for len(b) > 0 {
		if err := l.pass(); err != nil {
			return err
		}
		n, err := l.write(to, b)
		b = b[n:]
		if err != nil && to.to == l.client && l.outlives(to.to) {
			return nil // nobody listens any more
		}
		if err != nil && !errors.Is(err, os.ErrDeadlineExceeded) {
			return err
		}
	}
	return nil
}

// write writes unless the link is frozen. Its lock tells freeze when the last
// byte has gone out.
func (l *link) write(to side, b []byte) (int, error) {
	to.writing.Lock()
	defer to.writing.Unlock()
	if l.isFrozen() {
		return 0, nil
	}
	return to.to.Write(b)
}

// pass waits until the link is not frozen.
func (l *link) pass() error {
	for {
		l.mu.Lock()
		shut, over := l.shut, l.over
		l.mu.Unlock()
		if over {
			return errEnded
		}
		if shut == nil {
			return nil
		}
		select {
		case <-shut:
		case <-l.ended:
		}
	}
}

func (l *link) isFrozen() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.shut != nil
}

// freeze returns when nothing is written any more. A write that waits for its
// peer is interrupted by the deadline.
func (l *link) freeze() {
	l.mu.Lock()
	if l.shut == nil {
		l.shut = make(chan struct{})
	}
	l.deadline(past)
	l.mu.Unlock()
	await(&l.up)
	await(&l.down)
}

// await waits for the write in progress.
func await(writing *sync.Mutex) {
	writing.Lock()
	defer writing.Unlock()
}

func (l *link) thaw() {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.shut == nil || l.gone {
		return
	}
	l.deadline(never)
	close(l.shut)
	l.shut = nil
}

func (l *link) vanish() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.gone = true
}

// reset ends both sides with RST: SO_LINGER 0.
func (l *link) reset() { l.end(abort) }

// end closes both sides, once.
func (l *link) end(with func(*net.TCPConn) error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.over {
		return
	}
	l.over = true
	close(l.ended)
	_ = with(l.client)
	if l.server != nil {
		_ = with(l.server)
	}
}

func abort(c *net.TCPConn) error {
	_ = c.SetLinger(0)
	return c.Close()
}

// Write deadlines: a write ends at once, or is not bounded.
var past, never = time.Unix(1, 0), time.Time{}

// deadline bounds the writes of both sides; l.mu is held.
func (l *link) deadline(t time.Time) {
	_ = l.client.SetWriteDeadline(t)
	if l.server != nil {
		_ = l.server.SetWriteDeadline(t)
	}
}
