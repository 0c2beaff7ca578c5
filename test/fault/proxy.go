package fault

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/url"
	"sync"
)

// Proxy forwards connections to one target. Its methods may be called by
// several goroutines; when a verb returns, it holds.
type Proxy struct {
	target string
	kafka  bool // follow frames
	ln     *net.TCPListener
	hooks  hooks

	ctx    context.Context // of dials; ended by Close
	cancel context.CancelFunc
	wg     sync.WaitGroup

	mu     sync.Mutex
	links  map[*link]struct{}
	frozen bool
	refuse bool
	closed bool
	delays *Delays // of new connections
}

// New listens on a free port of 127.0.0.1 and forwards to target (host:port),
// which need not be up. The caller calls Close. DropAnswer and HoldRequest
// never fire here: see [NewKafka].
func New(target string) (*Proxy, error) { return listen(target, false) }

// NewKafka is New for a target that speaks Kafka's protocol in plain text.
func NewKafka(target string) (*Proxy, error) { return listen(target, true) }

func listen(target string, kafka bool) (*Proxy, error) {
	if _, _, err := net.SplitHostPort(target); err != nil {
		return nil, fmt.Errorf("fault proxy: target %q is no host:port: %w", target, err)
	}
	ln, err := net.ListenTCP("tcp", &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1)})
	if err != nil {
		return nil, fmt.Errorf("fault proxy for %s: %w", target, err)
	}
	p := &Proxy{target: target, kafka: kafka, ln: ln, links: map[*link]struct{}{}}
	p.ctx, p.cancel = context.WithCancel(context.Background())
	p.wg.Go(p.accept)
	return p, nil
}

// Addr returns the address clients use: host:port. It stays the same until Close.
func (p *Proxy) Addr() string { return p.ln.Addr().String() }

// Close ends the listener and all connections, and waits for their goroutines.
func (p *Proxy) Close() error {
	p.mu.Lock()
	if p.closed {
		p.mu.Unlock()
		return nil
	}
	p.closed = true
	err := p.ln.Close()
	p.cutAll()
	p.mu.Unlock()
	p.cancel()
	p.wg.Wait()
	if err != nil {
		return fmt.Errorf("close the fault proxy for %s: %w", p.target, err)
	}
	return nil
}

// Cut ends every connection there is with a reset (RST) on both sides, frozen
// ones too. New ones work.
func (p *Proxy) Cut() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.cutAll()
}

func (p *Proxy) cutAll() {
	for l := range p.links {
		l.reset()
	}
}

// Freeze makes a half-open peer of both sides: nothing is forwarded in either
// direction and nothing is closed, whatever the ends do. What was read before
// is held. New connections are accepted and stay mute; the target does not
// hear of them.
func (p *Proxy) Freeze() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.frozen = true
	for l := range p.links {
		l.freeze()
	}
}

// Thaw ends Freeze: what was held is delivered, ends of connections included.
// Connections that Vanish hit stay mute; new ones work again.
func (p *Proxy) Thaw() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.frozen = false
	for l := range p.links {
		l.thaw()
	}
}

// Vanish is Freeze, for ever for the connections there are now: a host that is
// gone and comes back, after Thaw, without them. Only Cut and Close end them.
func (p *Proxy) Vanish() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.frozen = true
	for l := range p.links {
		l.freeze()
		l.vanish()
	}
}

// Refuse says whether new connections are reset at once.
func (p *Proxy) Refuse(yes bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.refuse = yes
}

// accept takes connections until the listener is closed.
func (p *Proxy) accept() {
	for {
		c, err := p.ln.AcceptTCP()
		if err != nil {
			if errors.Is(err, net.ErrClosed) {
				return
			}
			continue
		}
		if l := p.enter(c); l != nil {
			p.wg.Go(func() {
				l.run(p.ctx)
				p.leave(l)
			})
		}
	}
}

// enter makes a link of a new connection; nil if it is not wanted.
func (p *Proxy) enter(c *net.TCPConn) *link {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.refuse || p.closed {
		_ = c.SetLinger(0)
		_ = c.Close()
		return nil
	}
	l := newLink(p, c)
	if p.frozen {
		l.freeze()
	}
	p.links[l] = struct{}{}
	return l
}

func (p *Proxy) leave(l *link) {
	p.mu.Lock()
	defer p.mu.Unlock()
	delete(p.links, l)
}

// URL returns pgURL (postgres://…) with the proxy's address in the place of
// the server's. One whose parameters name the host is refused: they would lead
// past the proxy.
func URL(pgURL string, p *Proxy) (string, error) {
	u, err := url.Parse(pgURL)
	if err != nil {
		return "", fmt.Errorf("address through a fault proxy: %w", err)
	}
	for _, name := range []string{"host", "hostaddr", "port"} {
		if u.Query().Has(name) {
			return "", fmt.Errorf("address through a fault proxy: %s has the parameter %s; give host and port before the path", u.Redacted(), name)
		}
	}
	u.Host = p.Addr()
	return u.String(), nil
}
