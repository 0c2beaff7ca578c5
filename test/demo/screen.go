package main

import (
	"fmt"
	"io"
	"os"
	"strings"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

// width is the number of columns the demo is written for.
const width = 100

// isTerminal reports whether f is one: only a terminal has a window size.
func isTerminal(f *os.File) bool {
	_, err := unix.IoctlGetWinsize(int(f.Fd()), unix.TIOCGWINSZ)
	return err == nil
}

// screen prints lines, and one line of progress below them. Its methods may be
// called by several goroutines.
type screen struct {
	mu     sync.Mutex
	w      io.Writer
	colour bool
	live   bool
	status string
	last   time.Time // when progress was last printed, where it is not live
}

func newScreen(w io.Writer, colour, live bool) *screen {
	return &screen{w: w, colour: colour, live: live}
}

// The few styles, as SGR codes.
const (
	bold  = "1"
	faint = "2"
	red   = "31"
	green = "32"
	cyan  = "36"
)

func (s *screen) style(code, text string) string {
	if !s.colour || text == "" {
		return text
	}
	return "\x1b[" + code + "m" + text + "\x1b[0m"
}

// print prints whole lines above the progress.
func (s *screen) print(format string, args ...any) {
	s.mu.Lock()
	defer s.mu.Unlock()
	text := strings.TrimSuffix(fmt.Sprintf(format, args...), "\n") + "\n"
	if s.live && s.status != "" {
		text = "\r\x1b[K" + text + s.status
	}
	_, _ = io.WriteString(s.w, text) // a terminal that is gone is no reason to stop
}

// how often progress is printed where it cannot be redrawn.
const progressEvery = 2 * time.Second

// progress shows where things stand; "" takes the line away.
func (s *screen) progress(text string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case s.live:
		s.status = text
		_, _ = io.WriteString(s.w, "\r\x1b[K"+text)
	case text != "" && time.Since(s.last) >= progressEvery:
		s.last = time.Now()
		_, _ = io.WriteString(s.w, text+"\n")
	}
}

// heading opens a part of the demo.
func (s *screen) heading(title, what string) {
	s.mu.Lock()
	s.last = time.Now() // it has only begun
	s.mu.Unlock()
	s.print("\n%s  %s", s.style(bold, title), s.style(faint, what))
}

// field is an indented line: name and value.
func (s *screen) field(name, format string, args ...any) {
	s.print("  %s %s", s.style(faint, fmt.Sprintf("%-12s", name)), fmt.Sprintf(format, args...))
}

// stackLines makes the stack's own lines look like the rest.
type stackLines struct {
	s    *screen
	rest string
}

func (l *stackLines) Write(p []byte) (int, error) {
	l.rest += string(p)
	for {
		line, rest, ok := strings.Cut(l.rest, "\n")
		if !ok {
			return len(p), nil
		}
		l.rest = rest
		l.s.print("  %s", l.s.style(faint, strings.TrimPrefix(line, "stack: ")))
	}
}

// number prints n with a thin gap every three digits.
func number(n int) string {
	s := fmt.Sprint(n)
	for i := len(s) - 3; i > 0; i -= 3 {
		s = s[:i] + " " + s[i:]
	}
	return s
}

// bar is a bar of w characters, part of it filled.
func bar(part, whole, w int) string {
	n := min(part*w/max(whole, 1), w)
	return strings.Repeat("#", n) + strings.Repeat(".", w-n)
}

func millis(d time.Duration) string { return fmt.Sprintf("%.1f ms", float64(d.Microseconds())/1000) }
