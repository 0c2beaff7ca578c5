package avrojson

import (
	"fmt"
	"regexp"
	"regexp/syntax"
	"slices"
)

// pattern is a regular expression. Most of them, on ASCII text, run as a table
// of states: one load per byte, where package regexp takes 20 to 30 ns.
type pattern struct {
	text string
	re   *regexp.Regexp
	dfa  *dfa // nil: re does it all
}

func newPattern(text string) (*pattern, error) {
	re, err := regexp.Compile(text)
	if err != nil {
		return nil, err
	}
	parsed, err := syntax.Parse(text, syntax.Perl)
	if err != nil {
		return nil, err
	}
	prog, err := syntax.Compile(parsed.Simplify())
	if err != nil {
		return nil, err
	}
	return &pattern{text: text, re: re, dfa: newDFA(prog)}, nil
}

func (p *pattern) match(s []byte) bool {
	d := p.dfa
	if d == nil {
		return p.re.Match(s)
	}
	state := d.start
	for _, c := range s {
		if state <= stateMatch {
			break
		}
		if c >= 0x80 {
			return p.re.Match(s)
		}
		state = d.next[int(state)*d.width+int(d.class[c])]
	}
	return d.accept[state]
}

// dfa is the expression as states over classes of ASCII characters. Characters
// over ASCII are not in it: a text that holds one goes to package regexp.
type dfa struct {
	class  [128]uint8
	width  int      // number of classes
	next   []uint16 // state × width + class
	accept []bool   // if the text ends here
	start  uint16
}

const (
	stateDead  = 0 // no match can follow
	stateMatch = 1 // matches whatever follows
	maxStates  = 512
)

// newDFA returns nil if prog needs more than begin and end of text as context,
// or too many states.
func newDFA(prog *syntax.Prog) *dfa {
	for _, in := range prog.Inst {
		if in.Op == syntax.InstEmptyWidth && syntax.EmptyOp(in.Arg)&^(syntax.EmptyBeginText|syntax.EmptyEndText) != 0 {
			return nil
		}
	}
	b := &dfaBuilder{prog: prog, ids: map[string]uint16{}}
	b.accept = []bool{false, true}
	reps := b.classes()
	b.sets = [][]uint32{nil, nil}
	b.again = b.closure(nil, uint32(prog.Start), 0)
	b.start = b.state(b.closure(slices.Clone(b.again), uint32(prog.Start), syntax.EmptyBeginText))
	b.next = make([]uint16, 2*b.width) // dead and match stay; never read
	for i := 2; i < len(b.sets); i++ {
		if len(b.sets) > maxStates {
			return nil
		}
		for _, r := range reps {
			b.next = append(b.next, b.step(b.sets[i], r))
		}
	}
	if b.odd {
		return nil
	}
	return &b.dfa
}

type dfaBuilder struct {
	dfa
	prog  *syntax.Prog
	sets  [][]uint32 // instructions of each state, sorted
	ids   map[string]uint16
	again []uint32 // a match may begin anywhere
	odd   bool     // begin of text is asked behind end of text, as in $^
}

// classes groups the ASCII characters no instruction tells apart and returns
// one of each group.
func (b *dfaBuilder) classes() []rune {
	var reps []rune
	seen := map[string]uint8{}
	for r := range rune(128) {
		var sig []byte
		for i := range b.prog.Inst {
			if in := &b.prog.Inst[i]; consumes(in) && in.MatchRune(r) {
				sig = append(sig, 1)
			} else {
				sig = append(sig, 0)
			}
		}
		id, ok := seen[string(sig)]
		if !ok {
			id = uint8(len(reps))
			seen[string(sig)] = id
			reps = append(reps, r)
		}
		b.class[r] = id
	}
	b.width = len(reps)
	return reps
}

func consumes(in *syntax.Inst) bool {
	switch in.Op {
	case syntax.InstRune, syntax.InstRune1, syntax.InstRuneAny, syntax.InstRuneAnyNotNL:
		return true
	}
	return false
}

// closure adds pc and what is reached from it without a character to set. An
// end-of-text condition stays in the set until the text ends.
func (b *dfaBuilder) closure(set []uint32, pc uint32, context syntax.EmptyOp) []uint32 {
	seen := map[uint32]bool{}
	var walk func(uint32)
	walk = func(pc uint32) {
		if seen[pc] {
			return
		}
		seen[pc] = true
		in := &b.prog.Inst[pc]
		switch in.Op {
		case syntax.InstAlt, syntax.InstAltMatch:
			walk(in.Out)
			walk(in.Arg)
		case syntax.InstCapture, syntax.InstNop:
			walk(in.Out)
		case syntax.InstEmptyWidth:
			if syntax.EmptyOp(in.Arg)&^context == 0 {
				walk(in.Out)
			} else if syntax.EmptyOp(in.Arg)&^(context|syntax.EmptyEndText) == 0 {
				set = append(set, pc)
			}
		case syntax.InstFail:
		default:
			set = append(set, pc)
		}
	}
	walk(pc)
	return set
}

// step is the state behind r.
func (b *dfaBuilder) step(set []uint32, r rune) uint16 {
	next := slices.Clone(b.again)
	for _, pc := range set {
		if in := &b.prog.Inst[pc]; consumes(in) && in.MatchRune(r) {
			next = b.closure(next, in.Out, 0)
		}
	}
	return b.state(next)
}

// state is the number of the state with these instructions.
func (b *dfaBuilder) state(set []uint32) uint16 {
	slices.Sort(set)
	set = slices.Compact(set)
	if len(set) == 0 {
		return stateDead
	}
	ends := false
	for _, pc := range set {
		switch b.prog.Inst[pc].Op {
		case syntax.InstMatch:
			return stateMatch
		case syntax.InstEmptyWidth:
			ends = ends || b.matchesAtEnd(pc)
		}
	}
	key := fmt.Sprint(set)
	id, ok := b.ids[key]
	if !ok {
		id = uint16(len(b.sets))
		b.ids[key] = id
		b.sets = append(b.sets, set)
		b.accept = append(b.accept, ends)
	}
	return id
}

func (b *dfaBuilder) matchesAtEnd(pc uint32) bool {
	matches := func(context syntax.EmptyOp) bool {
		return slices.ContainsFunc(b.closure(nil, b.prog.Inst[pc].Out, context), func(at uint32) bool {
			return b.prog.Inst[at].Op == syntax.InstMatch
		})
	}
	end := matches(syntax.EmptyEndText)
	if !end && matches(syntax.EmptyEndText|syntax.EmptyBeginText) {
		b.odd = true
	}
	return end
}
