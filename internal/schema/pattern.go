package schema

import (
	"regexp"
	"regexp/syntax"
	"strings"
	"unicode/utf8"
)

// maxMore bounds how often what may be repeated is repeated to reach a length.
const maxMore = 256

// matching makes up a text that a pattern accepts, of a length in code points
// from low to high (negative: no limit).
func matching(pattern string, low, high int) (string, bool) {
	re, err := regexp.Compile(pattern)
	if err != nil {
		return "", false
	}
	tree, err := syntax.Parse(pattern, syntax.Perl)
	if err != nil {
		return "", false
	}
	for more := 0; more <= maxMore; more++ {
		var b strings.Builder
		produce(&b, tree, more)
		s := b.String()
		n := utf8.RuneCountInString(s)
		if high >= 0 && n > high {
			return "", false
		}
		if n >= low && re.MatchString(s) {
			return s, true
		}
	}
	return "", false
}

// produce writes one text of the tree; more is how many repetitions beyond the
// least each loop makes.
func produce(b *strings.Builder, re *syntax.Regexp, more int) {
	times := func(least, most int) {
		n := least + more
		if most >= 0 {
			n = min(n, most)
		}
		for range n {
			produce(b, re.Sub[0], more)
		}
	}
	switch re.Op {
	case syntax.OpLiteral:
		b.WriteString(string(re.Rune))
	case syntax.OpCharClass:
		b.WriteRune(readable(re.Rune))
	case syntax.OpAnyChar, syntax.OpAnyCharNotNL:
		b.WriteByte('a')
	case syntax.OpStar:
		times(0, -1)
	case syntax.OpPlus:
		times(1, -1)
	case syntax.OpQuest:
		times(0, 1)
	case syntax.OpRepeat:
		times(re.Min, re.Max)
	case syntax.OpAlternate:
		produce(b, re.Sub[0], more)
	case syntax.OpConcat, syntax.OpCapture:
		for _, sub := range re.Sub {
			produce(b, sub, more)
		}
	}
}

// readable picks from a class what people like to read: a letter, else a digit,
// else whatever comes first. Ranges are pairs.
func readable(ranges []rune) rune {
	for _, want := range "aA01bB-" {
		for i := 0; i+1 < len(ranges); i += 2 {
			if want >= ranges[i] && want <= ranges[i+1] {
				return want
			}
		}
	}
	for i := 0; i+1 < len(ranges); i += 2 {
		if r := max(ranges[i], '!'); r <= ranges[i+1] {
			return r
		}
	}
	if len(ranges) > 0 {
		return ranges[0]
	}
	return 'a'
}
