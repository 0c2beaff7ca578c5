package transform

import (
	"fmt"
	"strings"

	"github.com/cdc-relay/cdc-relay/internal/event"
)

// stopf makes a Fault that stops the pipeline. do is the next step.
func stopf(do, format string, args ...any) *event.Fault {
	return &event.Fault{Verdict: event.Stop, What: fmt.Sprintf(format, args...), Do: do}
}

const again = "cdc-relay config validate && cdc-relay run"

// where names the row in hand: id, table, position, transaction, type.
func (t *Transformer) where() string {
	var b strings.Builder
	r := &t.row
	if len(r.typ) > 0 {
		fmt.Fprintf(&b, "event %q ", clip(r.typ))
	}
	if id, ok := r.scalar(fieldID); ok {
		fmt.Fprintf(&b, "row id %q ", clip(id))
	}
	fmt.Fprintf(&b, "of %s at LSN %s (xid %d)", r.m.Rel.Name(), r.m.Pos, r.m.XID)
	return b.String()
}

// look is the command that shows the row in hand.
func (t *Transformer) look() string {
	r := &t.row
	if r.m.Rel == nil {
		return "see what the service passes to pg_logical_emit_message"
	}
	table := ident(r.m.Rel.Schema) + "." + ident(r.m.Rel.Table)
	id, ok := r.scalar(fieldID)
	what := r.identified()
	if !ok || what == "" {
		return "look at the newest rows of the table: select * from " + table
	}
	return fmt.Sprintf("look at the row: select * from %s where %s = '%s'", table, what, strings.ReplaceAll(clip(id), "'", "''"))
}

// identified is the SQL expression of the source that gives the row's id: a
// column, or a place inside one; "": there is none.
func (r *row) identified() string {
	for i := range r.plan.fields[fieldID] {
		s := &r.plan.fields[fieldID][i]
		if s.text != nil {
			return ""
		}
		col := r.cols[s.col]
		name := ident(r.m.Rel.Columns[s.col].Name)
		if s.path == nil && len(col) > 0 {
			return name
		}
		if s.path == nil {
			continue
		}
		if _, ok := r.inside(col, s.path); ok {
			return name + s.path.sql()
		}
	}
	return ""
}

// ident quotes an SQL identifier where it must be.
func ident(name string) string {
	for i := range len(name) {
		if c := name[i]; c != '_' && (c < 'a' || c > 'z') && (c < '0' || c > '9' || i == 0) {
			return `"` + strings.ReplaceAll(name, `"`, `""`) + `"`
		}
	}
	return name
}

// clip is b as text of a length people can read.
func clip(b []byte) string {
	const most = 200
	if len(b) > most {
		return string(b[:most]) + "…"
	}
	return string(b)
}

// blame is a fault taken apart: what a dead letter says of it.
type blame struct {
	fault      *event.Fault
	what, mend string
	err        error
}

// fault is a Fault about the row in hand. mend is what may be changed. Only what
// it makes can become a dead letter: it is about this row, not about all of them.
func (t *Transformer) fault(err error, mend, format string, args ...any) error {
	what := fmt.Sprintf(format, args...)
	f := stopf(t.look()+"; "+mend+"; then: "+again, "%s: %s", t.where(), what)
	f.Err = err
	t.blame = blame{f, what, mend, err}
	return f
}
