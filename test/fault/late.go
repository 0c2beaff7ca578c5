package fault

import (
	"bufio"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"slices"
	"sync"
)

// Late is one request that is kept on its way while its client loses patience,
// asks again, and goes on: the copy of it that arrives when nobody expects it any
// more.
//
//	AHEAD ──comes by──► HELD ──Reset, or the client hangs up──► ORPHAN ──Deliver──► ANSWERED
type Late struct {
	proxies []*Proxy
	which   func(Request) bool
	held    chan struct{} // closed when it is kept
	orphan  chan struct{} // closed when its client is gone
	let     chan struct{} // closed by Deliver
	done    chan struct{} // closed when the broker has answered it
	deliver func()        // closes let, once

	mu      sync.Mutex
	left    int // requests to come, this one included
	request Request
	link    *link
	again   <-chan struct{}
	code    int16 // of the broker's answer
}

// Delay keeps the n-th request from now (n from 1, over all of these proxies)
// that which is true of, and all that its client sends behind it. The rest of the
// client's connections go on.
func Delay(proxies []*Proxy, n int, which func(Request) bool) *Late {
	t := &Late{proxies: proxies, which: which, left: max(n, 1),
		held: make(chan struct{}), orphan: make(chan struct{}), let: make(chan struct{}), done: make(chan struct{})}
	t.deliver = sync.OnceFunc(func() { close(t.let) })
	for _, p := range proxies {
		p.hooks.watch(t, nil)
	}
	return t
}

// Held is closed when the request is kept.
func (t *Late) Held() <-chan struct{} { return t.held }

// Request is what is kept; of no meaning before Held.
func (t *Late) Request() Request {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.request
}

// Again is closed when the same was asked for once more, behind the kept one, and
// was answered without an error. It must not be called before Held.
func (t *Late) Again() <-chan struct{} {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.again
}

// Reset ends the client's half of the connection with RST. The broker's half
// stays as it is. It must not be called before Held.
func (t *Late) Reset() {
	t.mu.Lock()
	defer t.mu.Unlock()
	_ = abort(t.link.client) // it may have hung up already
}

// Deliver lets the request, and what came behind it, go on to the broker, on the
// connection it is on, or, where the broker has ended that one since, on one of
// its own, as from a middlebox. It returns the error code of the broker's answer,
// which the client never sees, and fails if the client still waits.
func (t *Late) Deliver(ctx context.Context) (code int16, err error) {
	select {
	case <-t.orphan:
	case <-ctx.Done():
		return 0, fmt.Errorf("deliver a late request: its client has not gone away: %w", ctx.Err())
	}
	t.deliver()
	select {
	case <-t.done:
	case <-t.link.ended: // after the answer, or instead of it
	case <-ctx.Done():
		return 0, fmt.Errorf("deliver a late request: the broker does not answer: %w", ctx.Err())
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	select {
	case <-t.done:
		return t.code, nil
	default:
		return 0, errors.New("deliver a late request: the proxy has ended its connection, or the broker is down")
	}
}

// Drop forgets the request: it never arrives.
func (t *Late) Drop() {
	for _, p := range t.proxies {
		p.hooks.forget(t)
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.link != nil {
		t.link.reset()
	}
}

// see is told about a request of a link and reports whether it is to be kept.
func (t *Late) see(l *link, r Request) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.link != nil || !t.which(r) {
		return false
	}
	if t.left--; t.left > 0 {
		return false
	}
	t.request, t.link = r, l
	t.again = Answered(t.proxies, func(other Request) bool { return other == r })
	return true
}

func (t *Late) answered(code int16) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.code = code
	close(t.done)
}

// Answered returns a channel that is closed when a request from now on that which
// is true of, over all of these proxies, was answered without an error.
func Answered(proxies []*Proxy, which func(Request) bool) <-chan struct{} {
	w := &wait{which: which, done: make(chan struct{})}
	w.end = sync.OnceFunc(func() { close(w.done) })
	for _, p := range proxies {
		p.hooks.watch(nil, w)
	}
	return w.done
}

// wait waits for an answer without an error.
type wait struct {
	which func(Request) bool
	done  chan struct{}
	end   func() // closes done, once
}

// asked is a request whose answer is waited for; tell is told its error code.
type asked struct {
	key, version int16
	tell         []func(code int16)
}

func (s *hooks) watch(t *Late, w *wait) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if t != nil {
		s.lates = append(s.lates, t)
	}
	if w != nil {
		s.waits = append(s.waits, w)
	}
}

func (s *hooks) forget(t *Late) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.lates = slices.DeleteFunc(s.lates, func(o *Late) bool { return o == t })
}

// watched returns who is to see every request.
func (s *hooks) watched() ([]*Late, []*wait) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.waits = slices.DeleteFunc(s.waits, func(w *wait) bool {
		select {
		case <-w.done:
			return true
		default:
			return false
		}
	})
	return slices.Clone(s.lates), slices.Clone(s.waits)
}

// watch shows a request, whose head was read, to those who wait for one. If one
// of them keeps it, watch returns when the link is over.
func (l *link) watch(to side, from *bufio.Reader, head []byte) error {
	lates, waits := l.proxy.hooks.watched()
	if len(lates)+len(waits) == 0 {
		return nil
	}
	rest := int(int32(binary.BigEndian.Uint32(head))) + lengthSize - len(head)
	begin, err := from.Peek(min(rest, enough))
	if err != nil {
		return nil // in the middle of a frame: the copying finds out
	}
	r, ok := parse(append(slices.Clone(head[lengthSize:]), begin...))
	if !ok {
		return nil
	}
	a := &asked{key: r.Key, version: requestVersion(head)}
	for _, t := range lates {
		if t.see(l, r) {
			a.tell = append(a.tell, t.answered)
			l.ask(head, a)
			return l.keep(t, to, from, head, rest)
		}
	}
	for _, w := range waits {
		if w.which(r) {
			a.tell = append(a.tell, func(code int16) {
				if code == 0 {
					w.end()
				}
			})
		}
	}
	if len(a.tell) > 0 {
		l.ask(head, a)
	}
	return nil
}

func (l *link) ask(head []byte, a *asked) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.asked[int32(binary.BigEndian.Uint32(head[lengthSize+4:]))] = a
}

// told tells those who wait for the answer with this head about it.
func (l *link) told(head []byte, from *bufio.Reader) {
	id := int32(binary.BigEndian.Uint32(head[lengthSize:]))
	l.mu.Lock()
	a := l.asked[id]
	delete(l.asked, id)
	l.mu.Unlock()
	if a == nil {
		return
	}
	rest := int(int32(binary.BigEndian.Uint32(head))) + lengthSize - len(head)
	code := unread
	if body, err := from.Peek(min(rest, bufferSize)); err == nil {
		code = failure(a.key, a.version, append(slices.Clone(head[lengthSize:]), body...))
	}
	for _, tell := range a.tell {
		tell(code)
	}
}

// keep reads all that the client sends, until it is gone, and delivers it when
// it is told to. It returns when the link is over.
func (l *link) keep(t *Late, to side, from *bufio.Reader, head []byte, rest int) error {
	all := make([]byte, len(head)+rest)
	if _, err := io.ReadFull(from, all[copy(all, head):]); err != nil {
		return err
	}
	l.mu.Lock()
	l.kept = true
	l.mu.Unlock()
	close(t.held)
	behind, _ := io.ReadAll(from) // its end is the client's, whatever it is called
	close(t.orphan)
	select {
	case <-t.let:
	case <-l.ended:
		return errEnded
	}
	return l.deliver(t, to, append(all, behind...))
}

// deliver sends b until the broker has answered: again, on a new connection, if
// the one there was is found to have ended.
func (l *link) deliver(t *Late, to side, b []byte) error {
	for {
		_ = l.send(to, b) // of a connection that has ended we hear below
		l.mu.Lock()
		lost := l.lost
		l.mu.Unlock()
		select {
		case <-t.done:
		case <-l.ended:
		case <-lost:
			server, err := l.dial(l.proxy.ctx)
			if err != nil {
				return err
			}
			l.mu.Lock()
			l.lost = make(chan struct{})
			l.mu.Unlock()
			to.to = server
			l.proxy.wg.Go(func() { l.direction(side{to: l.client, writing: &l.down}, server, l.copyAnswers) })
			continue
		}
		return errEnded
	}
}

// outlives reports whether the link goes on although one of its sides has ended:
// it keeps a request, whose way to the broker is what is left of it.
func (l *link) outlives(ended io.Reader) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.kept && ended == io.Reader(l.server) {
		close(l.lost)
	}
	return l.kept
}
