//go:build crashpoints

package crash

import (
	"bufio"
	"fmt"
	"net"
	"os"
	"strings"
	"sync"
)

// Variable names the Unix socket of the test.
const Variable = "CDC_RELAY_CRASH"

// line is the connection to the test; nil when there is none.
var line = sync.OnceValue(connect)

// Point holds the calling goroutine if the test has armed the point.
func Point(n Name) {
	if h := line(); h != nil {
		h.pass(n)
	}
}

type holds struct {
	conn net.Conn

	mu    sync.Mutex
	armed map[Name]int           // how many times from now
	held  map[Name]chan struct{} // closed by go
	over  bool                   // the test is gone
}

func connect() *holds {
	path := os.Getenv(Variable)
	if path == "" {
		return nil
	}
	conn, err := net.Dial("unix", path)
	if err != nil {
		fmt.Fprintf(os.Stderr, "%s: %v: no point is held\n", Variable, err)
		return nil
	}
	h := &holds{conn: conn, armed: map[Name]int{}, held: map[Name]chan struct{}{}}
	ready := make(chan struct{})
	go h.listen(ready)
	<-ready
	return h
}

// listen obeys the test until its socket closes, and lets everything go then.
func (h *holds) listen(ready chan struct{}) {
	first := sync.OnceFunc(func() { close(ready) })
	defer first()
	for s := bufio.NewScanner(h.conn); s.Scan(); {
		verb, rest, _ := strings.Cut(s.Text(), " ")
		switch verb {
		case "arm":
			var name Name
			var n int
			if _, err := fmt.Sscan(rest, &name, &n); err == nil {
				h.mu.Lock()
				h.armed[name] = n
				h.mu.Unlock()
			}
		case "ready":
			first()
		case "go":
			h.release(Name(rest))
		}
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	h.over = true
	for _, c := range h.held {
		close(c)
	}
	clear(h.held)
}

func (h *holds) release(n Name) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if c := h.held[n]; c != nil {
		close(c)
		delete(h.held, n)
	}
}

func (h *holds) pass(n Name) {
	c := h.hold(n)
	if c == nil {
		return
	}
	fmt.Fprintf(h.conn, "at %s\n", n)
	<-c
}

// hold returns what to wait for, nil when the point is passed.
func (h *holds) hold(n Name) chan struct{} {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.over || h.armed[n] == 0 {
		return nil
	}
	h.armed[n]--
	if h.armed[n] > 0 {
		return nil
	}
	c := make(chan struct{})
	h.held[n] = c
	return c
}
