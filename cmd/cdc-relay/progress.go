package main

import (
	"fmt"
	"io"
	"strings"
	"time"
)

// progress shows how far a long command is: a bar that is drawn over itself on
// a terminal, else a line every ten seconds.
type progress struct {
	w        io.Writer
	terminal bool
	stage    string
	drawn    time.Time
	width    int // of the last bar
}

// How often a bar is drawn, and a line written.
const (
	drawEvery = 100 * time.Millisecond
	lineEvery = 10 * time.Second
)

// progress returns nil where nobody would read it: with -o json, unless
// standard error is a terminal.
func (a *app) progress() *progress {
	drawn := terminal(a.err)
	if a.output == "json" && !drawn {
		return nil
	}
	return &progress{w: a.err, terminal: drawn, drawn: time.Now()}
}

// step is a fleet.Progress.
func (p *progress) step(stage string, done, total int64) {
	if p == nil {
		return
	}
	every := lineEvery
	if p.terminal {
		every = drawEvery
	}
	now := time.Now()
	if soon := now.Sub(p.drawn) < every; soon && (stage == p.stage || !p.terminal) {
		return
	}
	p.drawn, p.stage = now, stage
	text := stage
	switch {
	case total >= done && total > 0:
		text = fmt.Sprintf("%s: %d of %d", stage, done, total)
	case done > 0: // the total was not known, or a guess
		text, total = fmt.Sprintf("%s: %d", stage, done), 0
	}
	if !p.terminal {
		fmt.Fprintln(p.w, text)
		return
	}
	if total > 0 {
		const cells = 30
		full := int(min(done*cells/total, cells))
		text = "[" + strings.Repeat("#", full) + strings.Repeat(".", cells-full) + "] " + text
	}
	fmt.Fprintf(p.w, "\r%-*s", p.width, text)
	p.width = len(text)
}

// done takes the bar away.
func (p *progress) done() {
	if p != nil && p.width > 0 {
		fmt.Fprintf(p.w, "\r%s\r", strings.Repeat(" ", p.width))
		p.width = 0
	}
}
