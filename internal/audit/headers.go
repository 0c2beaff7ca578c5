package audit

import (
	"cmp"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"text/tabwriter"

	"github.com/cdc-relay/cdc-relay/internal/event"
)

// Headers counts, by event type, which standard headers records have.
type Headers struct {
	types map[string]*HeaderCount
	list  []string
}

// HeaderCount is one event type.
type HeaderCount struct {
	Type    string           `json:"event_type"` // "" for records that name none
	Records int64            `json:"records"`
	With    map[string]int64 `json:"with"` // by header: the records that have it, not empty
}

// maxTypes bounds the memory of what a stranger may write into a header.
const maxTypes = 10_000

// OtherTypes is the name under which event types beyond 10 000 are counted.
const OtherTypes = "(others)"

// NewHeaders returns an empty count.
func NewHeaders() *Headers {
	return &Headers{types: map[string]*HeaderCount{}, list: event.StandardHeaders}
}

// Add counts a record; header gives the value of a header by name.
func (h *Headers) Add(header func(name string) ([]byte, bool)) {
	typ, _ := header("event_type")
	c := h.types[string(typ)]
	if c == nil {
		name := strings.ToValidUTF8(string(typ), "\ufffd")
		if len(h.types) >= maxTypes {
			name = OtherTypes
		}
		if c = h.types[name]; c == nil {
			c = &HeaderCount{Type: name, With: make(map[string]int64, len(h.list))}
			h.types[name] = c
		}
	}
	c.Records++
	for _, name := range h.list {
		if v, ok := header(name); ok && len(v) > 0 {
			c.With[name]++
		}
	}
}

// Counts are the counts by type; every standard header is in each.
func (h *Headers) Counts() []HeaderCount {
	var out []HeaderCount
	for _, c := range slices.SortedFunc(maps.Values(h.types), func(a, b *HeaderCount) int { return cmp.Compare(a.Type, b.Type) }) {
		for _, name := range h.list {
			c.With[name] += 0
		}
		out = append(out, *c)
	}
	return out
}

// PrintHeaders writes the shares as a table.
func PrintHeaders(w io.Writer, counts []HeaderCount) error {
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	p := &printer{w: t}
	p.line("EVENT_TYPE\tRECORDS\t%s", strings.ToUpper(strings.Join(event.StandardHeaders, "\t")))
	for _, c := range counts {
		var cells []string
		for _, name := range event.StandardHeaders {
			cells = append(cells, share(c.With[name], c.Records))
		}
		p.line("%s\t%d\t%s", or(c.Type, "(none)"), c.Records, strings.Join(cells, "\t"))
	}
	return cmp.Or(p.err, t.Flush())
}

// share is a percentage that says 100 and 0 only when it is all or nothing.
func share(n, of int64) string {
	switch n {
	case of:
		return "100%"
	case 0:
		return "0%"
	}
	permille := min(max(n*1000/of, 1), 999)
	return fmt.Sprintf("%d.%d%%", permille/10, permille%10)
}
