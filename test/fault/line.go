package fault

import (
	"bufio"
	"encoding/binary"
	"io"
	"net"
	"sync"
	"time"
)

// delayed is a link whose frames pass lines. A half of it that has gone does not
// stop what is on its way to the other.
type delayed struct {
	*link
	d      *Delays
	number int
	resets sync.WaitGroup

	mu   sync.Mutex
	keys map[int32]int16 // of the requests that were not answered, by correlation id
	gone bool            // the client's half
}

// delay forwards until both directions have ended, with d between.
func (l *link) delay(d *Delays, server *net.TCPConn) {
	number, reset := d.enter()
	if reset {
		d.log("link %d: reset at once", number)
		l.reset()
		return
	}
	s := &delayed{link: l, d: d, number: number, keys: map[int32]int16{}}
	requests, answers := newLine(s), newLine(s)
	var wg sync.WaitGroup
	wg.Go(func() {
		_ = requests.feed(l.client, requestHead, s.request)
		s.left()
		requests.close(io.EOF) // however it went
	})
	wg.Go(func() { answers.close(answers.feed(server, answerHead, s.answer)) })
	wg.Go(func() { l.direction(side{to: server, writing: &l.up}, requests, l.copyRequests) })
	wg.Go(func() {
		l.direction(side{to: l.client, writing: &l.down}, answers, func(to side, from *bufio.Reader) error {
			err := l.copyAnswers(to, from)
			_, _ = io.Copy(io.Discard, from) // of a client that has gone
			return err
		})
	})
	wg.Wait()
	s.resets.Wait()
}

// request chooses what happens to a request.
func (s *delayed) request(b []byte) frame {
	key, id := int16(binary.BigEndian.Uint16(b[lengthSize:])), int32(binary.BigEndian.Uint32(b[lengthSize+4:]))
	s.mu.Lock()
	s.keys[id] = key
	s.mu.Unlock()
	h := s.d.request(key)
	f := frame{bytes: b, due: time.Now().Add(h.late), request: true}
	if h == (hit{}) {
		return f
	}
	s.d.log("link %d: request %d of key %d late by %s, reset %t after %s: %.200q", s.number, id, key, h.late, h.reset, h.after, b[requestHead:])
	if h.reset {
		s.resets.Go(func() {
			if s.wait(time.Now().Add(h.after)) == nil && !s.d.isCalm() {
				s.hangUp()
			}
		})
	}
	return f
}

// answer chooses what happens to an answer.
func (s *delayed) answer(b []byte) frame {
	id := int32(binary.BigEndian.Uint32(b[lengthSize:]))
	s.mu.Lock()
	key, known := s.keys[id]
	delete(s.keys, id)
	s.mu.Unlock()
	var h hit
	if known {
		h = s.d.answer(key)
	}
	if h != (hit{}) {
		s.d.log("link %d: answer %d of key %d late by %s, reset %t", s.number, id, key, h.late, h.reset)
	}
	return frame{bytes: b, due: time.Now().Add(h.late), never: h.reset}
}

// hangUp resets the client's half.
func (s *delayed) hangUp() {
	s.link.mu.Lock()
	_ = abort(s.client) // it may have gone by itself
	s.link.mu.Unlock()
	s.left()
}

func (s *delayed) left() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.gone = true
}

func (s *delayed) hasLeft() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.gone
}

// wait waits until t, or Calm; an error is the link's end.
func (s *delayed) wait(t time.Time) error {
	timer := time.NewTimer(time.Until(t))
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-s.d.calm:
	case <-s.ended:
		return errEnded
	}
	return nil
}

// line is the way of the frames in one direction: they leave Read in the order
// they came in, each not before its time.
type line struct {
	*delayed
	frames chan frame // closed at the end
	rest   []byte     // of the one that is leaving
	err    error      // then
}

type frame struct {
	bytes   []byte
	due     time.Time
	request bool
	never   bool // the client's half is reset in its place
}

// lineLong is how many frames a line takes; then its sender waits.
const lineLong = 1024

func newLine(s *delayed) *line { return &line{delayed: s, frames: make(chan frame, lineLong)} }

func (l *line) close(err error) {
	l.err = err
	close(l.frames)
}

// feed takes what comes from one side until an error; what is no frame of Kafka's
// passes as it comes.
func (l *line) feed(side io.Reader, head int, choose func([]byte) frame) error {
	from := bufio.NewReaderSize(side, bufferSize)
	for {
		b, whole, err := readFrame(from, head)
		f := frame{bytes: b}
		if whole {
			f = choose(b)
		}
		select {
		case l.frames <- f:
		case <-l.ended:
			return errEnded
		}
		if err != nil {
			return err
		}
	}
}

func readFrame(from *bufio.Reader, head int) (b []byte, whole bool, err error) {
	size, err := from.Peek(lengthSize)
	length := 0
	if err == nil {
		length = int(int32(binary.BigEndian.Uint32(size)))
	}
	if length < head-lengthSize || length > frameMost {
		b = make([]byte, from.Buffered())
		_, _ = from.Read(b) // they are there
		return b, false, err
	}
	b = make([]byte, lengthSize+length)
	n, err := io.ReadFull(from, b)
	return b[:n], err == nil, err
}

func (l *line) Read(b []byte) (int, error) {
	for len(l.rest) == 0 {
		f, ok := <-l.frames
		if !ok {
			return 0, l.err
		}
		if err := l.wait(f.due); err != nil {
			return 0, err
		}
		if f.never && !l.d.isCalm() {
			l.hangUp()
			return 0, errEnded
		}
		if f.request && l.hasLeft() {
			l.d.log("link %d: an elder request leaves: %.40q", l.number, f.bytes)
			l.d.elder()
		}
		l.rest = f.bytes
	}
	n := copy(b, l.rest)
	l.rest = l.rest[n:]
	return n, nil
}
