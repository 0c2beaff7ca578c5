package config

import (
	"cmp"
	"crypto/sha256"
	"encoding/hex"
	"maps"
	"regexp"
	"slices"
	"strings"

	"github.com/cdc-relay/cdc-relay/internal/contract"
	"github.com/cdc-relay/cdc-relay/internal/transform"
)

// pipelines resolves every database. What is disabled is checked too, and left
// out.
func (v *validator) pipelines(files map[string]contract.File) []Pipeline {
	var out []Pipeline
	b := builder{v, files, map[string]*contract.Contract{}, map[string]string{}, map[string]string{}}
	if !v.said("databases") {
		if p, ok := b.single(); ok {
			out = append(out, p)
		}
		return out
	}
	v.shape()
	for _, name := range slices.Sorted(maps.Keys(v.cfg.Databases)) {
		db := v.cfg.Databases[name]
		p := b.one(name, "databases."+name, db)
		if db.Enabled == nil || *db.Enabled {
			out = append(out, p)
		}
	}
	b.lettersApart(out)
	if len(out) == 0 {
		v.missing("databases", "name at least one database that is not enabled: false", "there is no database to read")
	}
	return out
}

// shape refuses keys that mean one pipeline beside databases, which are many.
func (v *validator) shape() {
	for _, k := range []string{"database", "service", "postgres.slot", "dead_letters.topic"} {
		if v.said(k) {
			last := k[strings.LastIndex(k, ".")+1:]
			v.fail(k, "write it under each database, or leave `databases` out", "%s is of one pipeline, and there are several databases", last)
		}
	}
}

// builder makes pipelines and sees to it that no two have the same slot.
type builder struct {
	*validator
	files     map[string]contract.File
	contracts map[string]*contract.Contract // by the names of their files
	slots     map[string]string             // slot → path of the pipeline that has it
	letters   map[string]string             // dead letter topic → path of the pipeline that has it
}

func (b *builder) single() (Pipeline, bool) {
	c := b.cfg
	name := c.Database
	if name == "" {
		var err error
		if name, err = databaseOf(c.Postgres.URL, b.lookup); err != nil {
			b.badURL("postgres.url", err)
			return Pipeline{}, false
		}
	}
	if name == "" {
		if b.bad["postgres"] || b.bad["postgres.url"] || b.bad["database"] {
			return Pipeline{}, false
		}
		b.fail("database", "end postgres.url with /NAME, or write database: NAME, or databases: for several", "no database is named")
		return Pipeline{}, false
	}
	p := b.one(name, "", Database{Service: c.Service, Slot: c.Postgres.Slot, DeadLetterTopic: c.DeadLetters.Topic})
	return p, true
}

// one resolves one database; path is "" for the single-database form.
func (b *builder) one(name, path string, db Database) Pipeline {
	c := b.cfg
	where := func(multi, single string) string {
		if path == "" {
			return single
		}
		return path + "." + multi
	}
	p := Pipeline{Name: name, Key: c.Name + "/" + name, Service: db.Service, Mapping: c.Mapping, Slot: db.Slot, Publication: db.Publication, Database: db.DBName}
	b.pipelineName(where("dbname", "database"), path, name)
	if p.Service == "" {
		p.Service = name
	}
	mapping := "mapping"
	if db.Mapping != nil {
		p.Mapping, mapping = *db.Mapping, where("mapping", "mapping")
	}
	b.mapping(mapping, p.Mapping)
	p.Table = b.table(where("table", "table"), db.Table, p.Mapping)
	if p.Publication == "" {
		p.Publication = c.Postgres.Publication
		b.identifier("postgres.publication", p.Publication)
	} else {
		b.identifier(where("publication", "postgres.publication"), p.Publication)
	}
	b.url(&p, where("url", "postgres.url"), db.URL)
	b.slot(&p, where("slot", "postgres.slot"), path)
	p.Contract = b.contract(db.Events)
	b.deadLetterTopic(&p, where("dead_letter_topic", "dead_letters.topic"), path, db.DeadLetterTopic)
	return p
}

func (b *builder) pipelineName(path, entry, name string) {
	if nameForm.MatchString(name) {
		return
	}
	if entry != "" {
		b.fail(entry, "give the entry a plain name and write the database's own under dbname", "%q cannot be part of a transactional id", name)
		return
	}
	b.fail(path, "write databases: {plain_name: {dbname: \""+name+"\"}}", "%q cannot be part of a transactional id", name)
}

func (b *builder) mapping(path string, m transform.Mapping) {
	err := m.Check()
	if err == nil {
		return
	}
	errs := []error{err}
	if j, ok := err.(interface{ Unwrap() []error }); ok {
		errs = j.Unwrap()
	}
	for _, e := range errs {
		what, do, _ := strings.Cut(strings.TrimPrefix(e.Error(), "mapping: "), "; ")
		at := path
		if part, rest, ok := strings.Cut(what, ": "); ok && b.said(path+"."+part) {
			at, what = path+"."+part, rest
		}
		b.fail(at, do, "%s", what)
	}
}

var tableForm = regexp.MustCompile(`^[^.\s]+\.[^.\s]+$`)

func (b *builder) table(path, own string, m transform.Mapping) string {
	t := own
	if t == "" {
		t = b.cfg.Table
		if b.said("table") {
			path = "table"
		}
	}
	if t == "" {
		t = presetTables[cmp.Or(m.Preset, contract.PresetNative)]
	}
	if t != "" && !tableForm.MatchString(t) {
		b.fail(path, "write it as schema.table, without quotes, such as public."+strings.Trim(t, ". \""), "%q does not name schema and table", t)
	}
	return t
}

// identifier checks what becomes an SQL identifier.
func (b *builder) identifier(path, s string) {
	if s == "" || len(s) > 63 || strings.ContainsAny(s, "\x00,\"") {
		b.fail(path, "write a name of 1 to 63 bytes without quotes and commas, such as cdc_relay", "%q is not a name for a publication", s)
	}
}

func (b *builder) url(p *Pipeline, path, own string) {
	base := own
	if base == "" {
		base, path = b.cfg.Postgres.URL, "postgres.url"
	}
	inURL, err := databaseOf(base, func(string) (string, bool) { return "", false })
	if err != nil {
		b.badURL(path, err)
		return
	}
	if p.Database == "" && own != "" {
		p.Database = inURL
	}
	if p.Database == "" {
		p.Database = p.Name
	}
	p.URL = withDatabase(base, p.Database)
	if err := b.postgres(p.URL); err != nil {
		b.badURL(path, err)
	}
}

func (b *builder) badURL(path string, err error) {
	b.fail(path, "write for example postgres://relay@db:5432/essays, special characters of the password as %XX", "%q cannot be used: %v", b.shown(path, ""), err)
}

var slotForm = regexp.MustCompile(`^[a-z0-9_]{1,63}$`)

func (b *builder) slot(p *Pipeline, path, entry string) {
	if p.Slot == "" {
		p.Slot = defaultSlot(b.cfg.Name, p.Name)
	} else if !slotForm.MatchString(p.Slot) {
		b.fail(path, "write 1 to 63 lower-case letters, digits and underscores, such as "+defaultSlot(b.cfg.Name, p.Name), "%q is not a slot name", p.Slot)
		return
	}
	if first, taken := b.slots[p.Slot]; taken {
		b.fail(path, "write another slot under one of them", "slot %s is also the slot of %s (%s)", p.Slot, first, b.at(first))
		return
	}
	b.slots[p.Slot] = entry
}

var notSlot = regexp.MustCompile(`[^a-z0-9_]`)

// defaultSlot is cdc_relay_<name>_<pipeline> in the characters a slot may have.
// A name that is too long keeps its beginning and ends in a digest of the whole.
func defaultSlot(name, pipeline string) string {
	full := "cdc_relay_" + name + "_" + pipeline
	s := notSlot.ReplaceAllString(strings.ToLower(full), "_")
	if len(s) <= 63 {
		return s
	}
	sum := sha256.Sum256([]byte(full))
	return s[:54] + "_" + hex.EncodeToString(sum[:4])
}

// contract merges the top-level files and those of the database.
func (b *builder) contract(own []string) *contract.Contract {
	names := append(slices.Clone(b.cfg.Events), own...)
	if len(names) == 0 {
		b.missing("events", "write events: [events.yaml]; that file says what each event is", "no contract file is named")
		return nil
	}
	var files []contract.File
	seen := map[string]bool{}
	for _, n := range names {
		f, sound := b.files[n]
		if !sound { // its own problems come first
			return nil
		}
		if !seen[n] {
			seen[n] = true
			files = append(files, f)
		}
	}
	id := strings.Join(names, "\x00")
	if c, done := b.contracts[id]; done {
		return c
	}
	c, err := contract.New(files...)
	b.contracts[id] = c
	b.contractErrors(err)
	return c
}

// contractErrors takes the errors of contract.New apart: each begins with the
// file and line it is about.
func (b *builder) contractErrors(err error) {
	if err == nil {
		return
	}
	errs := []error{err}
	if j, ok := err.(interface{ Unwrap() []error }); ok {
		errs = j.Unwrap()
	}
	for _, e := range errs {
		p := Problem{What: e.Error()}
		if m := fileLine.FindStringSubmatch(p.What); m != nil {
			if _, known := b.collector.files[m[1]]; known {
				line, _ := parseInt(m[2])
				p.At, p.What = Place{m[1], int(line), 1}, p.What[len(m[0]):]
			}
		}
		b.list = append(b.list, p)
	}
}

var fileLine = regexp.MustCompile(`^(.+?):(\d+): `)
