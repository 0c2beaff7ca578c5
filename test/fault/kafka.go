package fault

import (
	"bufio"
	"encoding/binary"
	"errors"
	"io"
	"sync"
)

// API keys of Kafka's protocol, for DropAnswer and HoldRequest.
const (
	Produce            int16 = 0
	Fetch              int16 = 1
	ListOffsets        int16 = 2
	Metadata           int16 = 3
	OffsetCommit       int16 = 8
	FindCoordinator    int16 = 10
	InitProducerID     int16 = 22
	AddPartitionsToTxn int16 = 24
	EndTxn             int16 = 26 // a commit or an abort
)

// Frames: a request begins with int32 length, int16 api key, int16 version,
// int32 correlation id; an answer with int32 length, int32 correlation id. The
// length counts what follows it.
const (
	lengthSize  = 4
	requestHead = lengthSize + 8
	answerHead  = lengthSize + 4
	frameMost   = 1 << 30 // longer: this is no Kafka frame
)

// hooks are the wishes about requests that have not come yet, and the versions
// of those that have.
type hooks struct {
	mu       sync.Mutex
	all      []*hook
	versions map[int16]int16 // the highest, by API key
}

// hook waits for the left-th request of its key.
type hook struct {
	key    int16
	left   int
	answer *answer       // swallow the answer, or …
	reach  chan struct{} // … tell by closing it, and wait for
	let    chan struct{} // its being closed
}

// answer is one that is to be swallowed; done is closed when it was.
type answer struct{ done chan struct{} }

// DropAnswer lets the n-th request from now (n from 1, over all connections)
// with this API key through, swallows its answer and cuts its connection: the
// client never learns what the broker decided. The channel is closed after
// that: the broker HAS decided. It stays open if the connection ends before.
func (p *Proxy) DropAnswer(apiKey int16, n int) <-chan struct{} {
	a := &answer{done: make(chan struct{})}
	p.hooks.add(&hook{key: apiKey, left: max(n, 1), answer: a})
	return a.done
}

// HoldRequest holds the n-th request from now (n from 1, over all connections)
// with this API key, and what its client sends on the same connection after it,
// before it reaches the broker, until release is called or the connection is
// cut. Answers go on. reached is closed when the request is held. A client that
// has given up meanwhile does not stop its request: release still delivers it.
func (p *Proxy) HoldRequest(apiKey int16, n int) (reached <-chan struct{}, release func()) {
	h := &hook{key: apiKey, left: max(n, 1), reach: make(chan struct{}), let: make(chan struct{})}
	p.hooks.add(h)
	return h.reach, sync.OnceFunc(func() { close(h.let) })
}

// Version returns the highest version of the requests with this API key that
// have come by; -1: there was none.
func (p *Proxy) Version(apiKey int16) int16 {
	p.hooks.mu.Lock()
	defer p.hooks.mu.Unlock()
	if v, any := p.hooks.versions[apiKey]; any {
		return v
	}
	return -1
}

func (s *hooks) add(h *hook) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.all = append(s.all, h)
}

// due counts a request and returns the hooks whose turn it is; they are
// forgotten.
func (s *hooks) due(key, version int16) (due []*hook) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.versions == nil {
		s.versions = map[int16]int16{}
	}
	s.versions[key] = max(version, s.versions[key])
	var rest []*hook
	for _, h := range s.all {
		if h.key == key {
			h.left--
		}
		if h.left == 0 {
			due = append(due, h)
		} else {
			rest = append(rest, h)
		}
	}
	s.all = rest
	return due
}

// copyRequests forwards frame by frame; the head of each is seen before any
// byte of it is sent.
func (l *link) copyRequests(to side, from *bufio.Reader) error {
	return l.copyFrames(to, from, requestHead, func(head []byte) error {
		key := int16(binary.BigEndian.Uint16(head[lengthSize:]))
		id := int32(binary.BigEndian.Uint32(head[lengthSize+4:]))
		version := int16(binary.BigEndian.Uint16(head[lengthSize+2:]))
		for _, h := range l.proxy.hooks.due(key, version) {
			if h.answer != nil {
				l.mu.Lock()
				l.drop[id] = h.answer
				l.mu.Unlock()
				continue
			}
			close(h.reach)
			select {
			case <-h.let:
			case <-l.ended:
				return errEnded
			}
		}
		return nil
	})
}

// copyAnswers forwards frame by frame, up to the one that is to be swallowed.
func (l *link) copyAnswers(to side, from *bufio.Reader) error {
	return l.copyFrames(to, from, answerHead, func(head []byte) error {
		l.mu.Lock()
		a := l.drop[int32(binary.BigEndian.Uint32(head[lengthSize:]))]
		l.mu.Unlock()
		if a == nil {
			return nil
		}
		l.reset()
		close(a.done)
		return errEnded
	})
}

// copyFrames shows look the first size bytes of each frame and forwards it.
// What does not look like Kafka is forwarded as it comes.
func (l *link) copyFrames(to side, from *bufio.Reader, size int, look func(head []byte) error) error {
	buf := make([]byte, bufferSize)
	for {
		n, err := io.ReadFull(from, buf[:size])
		if err != nil { // an end, maybe in the middle of a head
			if serr := l.send(to, buf[:n]); serr != nil {
				return serr
			}
			if errors.Is(err, io.ErrUnexpectedEOF) {
				return io.EOF
			}
			return err
		}
		length := int(int32(binary.BigEndian.Uint32(buf)))
		if length < size-lengthSize || length > frameMost {
			if err := l.send(to, buf[:n]); err != nil {
				return err
			}
			return l.copyPlain(to, from)
		}
		if err := look(buf[:size]); err != nil {
			return err
		}
		if err := l.copyBody(to, from, buf, n, length+lengthSize-n); err != nil {
			return err
		}
	}
}

// copyBody sends the n bytes in buf and the left ones to come.
func (l *link) copyBody(to side, from *bufio.Reader, buf []byte, n, left int) error {
	for {
		if left > 0 && (n == 0 || from.Buffered() > 0) {
			got, err := from.Read(buf[n : n+min(left, len(buf)-n)])
			n, left = n+got, left-got
			if err != nil { // in the middle of a frame
				if serr := l.send(to, buf[:n]); serr != nil {
					return serr
				}
				return err
			}
		}
		if err := l.send(to, buf[:n]); err != nil {
			return err
		}
		if n = 0; left == 0 {
			return nil
		}
	}
}
