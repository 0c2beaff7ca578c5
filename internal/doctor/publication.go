package doctor

import (
	"fmt"
	"regexp"
	"strings"

	"github.com/cdc-relay/cdc-relay/internal/event"
)

func tables(g Guard, s *event.Saved, f *event.Facts) *event.Fault {
	for _, t := range f.Tables {
		switch {
		case !t.Exists:
			return g.refuse("cdc-relay migrate makes cdc_relay.outbox; for another table correct `table:` of this pipeline, or create it",
				"table %s does not exist in database %q", t.Name, f.Database)
		case t.Persistence == "u":
			return g.refuse("ALTER TABLE "+ident(t.Name)+" SET LOGGED, then start again"+g.neverSent(s),
				"table %s is unlogged: its rows are never in the write-ahead log", t.Name)
		case t.Persistence == "t":
			return g.refuse("correct `table:` of this pipeline", "table %s is temporary: its rows are never in the write-ahead log", t.Name)
		}
	}
	return nil
}

func tablesGood(_ Guard, _ *event.Saved, f *event.Facts) string {
	var names []string
	for _, t := range f.Tables {
		names = append(names, t.Name)
	}
	return strings.Join(names, ", ")
}

// publication: does it send us every insert into our tables, whole?
func publication(g Guard, s *event.Saved, f *event.Facts) *event.Fault {
	p := &f.Publication
	if !p.Exists {
		if unmade(s) && !f.Slot.Exists {
			return g.mayPublish(f) // the first start makes it
		}
		return g.refuse(g.afterChange(s, f, ""), "publication %s does not exist in database %q: the slot cannot be read through it", g.Publication, f.Database)
	}
	if !p.Insert {
		return g.refuse(g.afterChange(s, f, "ALTER PUBLICATION "+name1(p.Name)+" SET (publish = 'insert')"),
			"publication %s does not publish inserts: no event ever comes through it", p.Name)
	}
	for _, t := range f.Tables {
		if fault := g.published(s, f, t); fault != nil {
			return fault
		}
	}
	return nil
}

// mayPublish: making a publication needs CREATE on the database and the tables'
// ownership, which a relay's role need not have.
func (g Guard) mayPublish(f *event.Facts) *event.Fault {
	owned := f.CanCreate
	var names []string
	for _, t := range f.Tables {
		owned = owned && (t.Owned || !t.Exists) // what `migrate` is to make will be ours
		names = append(names, ident(t.Name))
	}
	if owned || f.Superuser {
		return nil
	}
	return g.refuse("as the tables' owner, with CREATE on the database: CREATE PUBLICATION "+name1(g.Publication)+" FOR TABLE "+strings.Join(names, ", ")+
		" WITH (publish = 'insert', publish_via_partition_root = true)",
		"publication %s does not exist in database %q, and role %q may not make it", g.Publication, f.Database, f.Role)
}

// published judges one table's place in the publication.
func (g Guard) published(s *event.Saved, f *event.Facts, t event.Table) *event.Fault {
	p := &f.Publication
	if t.Partitioned && !p.ViaRoot {
		return g.refuse(g.afterChange(s, f, "ALTER PUBLICATION "+name1(p.Name)+" SET (publish_via_partition_root = true)"),
			"table %s is partitioned, and publication %s sends rows under the names of the partitions", t.Name, p.Name)
	}
	e := entryOf(p, t.Name)
	switch {
	case p.AllTables:
		return nil
	case e != nil && e.OID == 0:
		return g.refuse(g.afterChange(s, f, "ALTER PUBLICATION "+name1(p.Name)+" ADD TABLE "+ident(t.Name)),
			"publication %s holds table %s only through its schema: taking the schema out and putting it back would lose rows, and nobody could see it", p.Name, t.Name)
	case e == nil:
		return g.refuse(g.afterChange(s, f, "ALTER PUBLICATION "+name1(p.Name)+" ADD TABLE "+ident(t.Name)),
			"publication %s does not hold table %s: its rows are not sent", p.Name, t.Name)
	case e.Filter != "":
		return g.refuse(g.afterChange(s, f, g.readd(p, t)),
			"publication %s has a row filter on table %s, WHERE %s: rows it does not match are never sent", p.Name, t.Name, e.Filter)
	case e.Columns != "":
		return g.refuse(g.afterChange(s, f, g.readd(p, t)),
			"publication %s has a column list on table %s, (%s): the other columns are never sent", p.Name, t.Name, e.Columns)
	}
	return nil
}

func (g Guard) readd(p *event.Publication, t event.Table) string {
	return "ALTER PUBLICATION " + name1(p.Name) + " SET TABLE " + ident(t.Name)
}

// afterChange is sql, and, when there is a checkpoint that the change of the
// publication makes doubtful, the command to go on.
func (g Guard) afterChange(s *event.Saved, f *event.Facts, sql string) string {
	switch {
	case s.State == event.StateStreaming && sql == "":
		return g.recreate(s, f) + " (it makes the publication too)"
	case s.State == event.StateStreaming:
		return sql + "; then " + g.unlike(s)
	case sql == "":
		return "drop the slot (select pg_drop_replication_slot(" + literal(f.Slot.Name) + ")) and start again: the first start makes publication and slot"
	}
	return sql + ", then start again"
}

func publicationGood(_ Guard, _ *event.Saved, f *event.Facts) string {
	if !f.Publication.Exists {
		return "none yet; the first start makes it"
	}
	return f.Publication.Name
}

func entryOf(p *event.Publication, table string) *event.PublicationEntry {
	for i := range p.Entries {
		if p.Entries[i].Table == table {
			return &p.Entries[i]
		}
	}
	return nil
}

// publicationSame: a publication that was dropped and made again, or a table
// that was taken out and put back, loses the rows between in silence.
func publicationSame(g Guard, s *event.Saved, f *event.Facts) *event.Fault {
	now := f.Publication.Fingerprint()
	if unmade(s) || s.Publication == now {
		return nil
	}
	return g.refuse(g.unlike(s),
		"publication %s is not what it was at the checkpoint %s: %s; rows written meanwhile may never have been sent", g.Publication, s.Safe,
		strings.Join(changes(s.Publication, now), "; "))
}

// unlike is the way on with a publication that is not what it was. The slot still
// sends the rows written before and after the change, so what was never sent is
// known only when the relay has caught up: repaired earlier, those rows would
// come twice. A row written without the publication ends the stream for good,
// which rebase finds out.
func (g Guard) unlike(s *event.Saved) string {
	text := g.rebase(s, "--accept-publication", "which goes on from the checkpoint"+g.neverSent(s))
	if !g.Replay {
		text += ". If rebase says that the stream cannot be read any more: cdc-relay slots recreate --pipeline " + g.Pipeline + " --accept-gap"
	}
	return text
}

// neverSent goes on about the rows of before; nothing where there was no stream.
func (g Guard) neverSent(s *event.Saved) string {
	if s.State != event.StateStreaming || g.Replay {
		return ""
	}
	return "; when the relay has caught up, cdc-relay audit finds the rows (from " + orUnknown(s.CommitTime) + " on) that were never sent, and cdc-relay repair publishes them"
}

// fingerprint is one taken apart.
type fingerprint struct {
	name, oid, xmin string
	tables          map[string][4]string // oid, xmin, table oid, persistence
	order           []string
}

var (
	headForm  = regexp.MustCompile(`^(.*?):(\d+)/(\d+)(?: |$)`)
	entryForm = regexp.MustCompile(`(.+?):(\d+)/(\d+)/(\d+)/(\w?)(?: |$)`)
)

func takeApart(s string) (fingerprint, bool) {
	m := headForm.FindStringSubmatch(s)
	if m == nil {
		return fingerprint{}, false
	}
	p := fingerprint{name: m[1], oid: m[2], xmin: m[3], tables: map[string][4]string{}}
	for _, e := range entryForm.FindAllStringSubmatch(s[len(m[0]):], -1) {
		p.tables[e[1]] = [4]string(e[2:6])
		p.order = append(p.order, e[1])
	}
	return p, true
}

// changes says in words how two fingerprints of a publication differ.
func changes(was, is string) []string {
	a, okA := takeApart(was)
	b, okB := takeApart(is)
	if !okA || !okB {
		return []string{fmt.Sprintf("it was %q and is %q", was, is)}
	}
	var out []string
	say := func(format string, args ...any) { out = append(out, fmt.Sprintf(format, args...)) }
	switch {
	case a.name != b.name:
		say("the checkpoint knows publication %s", a.name)
	case b.oid == "0":
		say("it was dropped")
	case a.oid != b.oid:
		say("it was dropped and created again (oid %s, now %s)", a.oid, b.oid)
	case a.xmin != b.xmin:
		say("it was altered: its options, owner or name (xmin %s, now %s)", a.xmin, b.xmin)
	}
	for _, t := range a.order {
		if _, still := b.tables[t]; !still {
			say("table %s was taken out", t)
		}
	}
	for _, t := range b.order {
		old, was := a.tables[t]
		if !was {
			say("table %s was added", t)
			continue
		}
		out = append(out, entryChanges(t, old, b.tables[t])...)
	}
	if len(out) == 0 {
		say("it was %q and is %q", was, is)
	}
	return out
}

func entryChanges(t string, was, is [4]string) []string {
	var out []string
	switch {
	case was[2] != is[2]:
		out = append(out, fmt.Sprintf("table %s was dropped and created again (oid %s, now %s)", t, was[2], is[2]))
	case was[0] != is[0]:
		out = append(out, fmt.Sprintf("table %s was taken out and put back, or its row filter or column list was changed (entry %s, now %s)", t, was[0], is[0]))
	case was[1] != is[1]:
		out = append(out, fmt.Sprintf("the entry of table %s was changed (xmin %s, now %s)", t, was[1], is[1]))
	}
	if was[3] != is[3] {
		out = append(out, fmt.Sprintf("table %s was %s and is %s", t, persistence(was[3]), persistence(is[3])))
	}
	return out
}

func persistence(p string) string {
	switch p {
	case "p":
		return "logged"
	case "u":
		return "unlogged"
	case "t":
		return "temporary"
	}
	return orUnknown(p)
}

var plainIdent = regexp.MustCompile(`^[a-z_][a-z0-9_]*$`)

// reserved are words that look like plain names and are none.
var reserved = map[string]bool{"all": true, "check": true, "column": true, "default": true, "desc": true, "end": true, "group": true,
	"limit": true, "offset": true, "order": true, "primary": true, "references": true, "select": true, "table": true, "to": true, "user": true, "when": true, "window": true}

// name1 writes one name as SQL does.
func name1(s string) string {
	if plainIdent.MatchString(s) && !reserved[s] {
		return s
	}
	return `"` + strings.ReplaceAll(s, `"`, `""`) + `"`
}

// ident writes schema.table as SQL does.
func ident(table string) string {
	schema, name, ok := strings.Cut(table, ".")
	if !ok {
		return name1(table)
	}
	return name1(schema) + "." + name1(name)
}

// literal writes s as an SQL string.
func literal(s string) string { return "'" + strings.ReplaceAll(s, "'", "''") + "'" }
