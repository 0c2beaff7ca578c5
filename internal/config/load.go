package config

import (
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"reflect"
	"slices"

	"github.com/cdc-relay/cdc-relay/internal/contract"
)

// maxFile is the largest configuration, contract or secret file that is read.
const maxFile = 4 << 20

// Load reads the files in order, a later one over the earlier (maps merge key
// by key; single values and lists replace), expands ${…} with lookup
// (os.LookupEnv), and returns the checked configuration with its contracts.
//
// The error is of type Problems when the configuration is at fault: every
// problem at once.
func Load(paths []string, lookup func(string) (string, bool)) (*Config, error) {
	return loader{lookup: lookup, read: readFile, stat: os.Stat, postgres: parsePostgres}.load(paths)
}

// loader is what Load needs of the machine.
type loader struct {
	lookup func(string) (string, bool)
	read   func(string) ([]byte, error)
	stat   func(string) (fs.FileInfo, error)
	// postgres says what is wrong with a connection string; it may read the
	// files the string names.
	postgres func(string) error
}

func readFile(name string) ([]byte, error) {
	info, err := os.Stat(name)
	if err != nil {
		return nil, reason(err)
	}
	if info.IsDir() {
		return nil, errors.New("it is a folder")
	}
	if info.Size() > maxFile {
		return nil, fmt.Errorf("it is larger than %s", Size(maxFile))
	}
	b, err := os.ReadFile(name)
	return b, reason(err)
}

// reason is err without the name of the file, which the message has already.
func reason(err error) error {
	if pe, ok := errors.AsType[*fs.PathError](err); ok {
		return pe.Err
	}
	return err
}

func (l loader) load(paths []string) (*Config, error) {
	if len(paths) == 0 {
		return nil, Problems{{What: "no configuration file is given", Do: "give one with -c FILE; cdc-relay config init prints one to start from"}}
	}
	c := &collector{files: map[string]int{}}
	var top *node
	for _, path := range paths {
		if n := l.parse(c, Place{}, "", path); n != nil {
			top = merge(top, n)
		}
	}
	if top == nil {
		return nil, c.err()
	}
	cfg := defaults()
	d := newDecoder(c, reflect.TypeFor[Config]())
	d.record("", top, reflect.ValueOf(cfg).Elem())
	cfg.from, cfg.places = d.from, d.places
	cfg.resolvePaths(paths[0])

	v := &validator{collector: c, cfg: cfg, loader: l, top: Place{paths[0], 1, 1}, bad: map[string]bool{}}
	for _, p := range c.list {
		v.bad[p.Path] = true
	}
	v.all()
	cfg.pipelines = v.pipelines(l.contracts(c, cfg))
	v.needs()
	if err := c.err(); err != nil {
		return nil, err
	}
	return cfg, nil
}

// parse reads one file; at and path say who named it.
func (l loader) parse(c *collector, at Place, path, name string) *node {
	c.file(name)
	data, err := l.read(name)
	if err != nil {
		do, what := "check the name; it is taken relative to the folder of the file that names it", name+" cannot be read"
		if at.File == "" { // named on the command line
			at, what = Place{File: name}, "it cannot be read"
			do = "check the name given with -c (default cdc-relay.yaml in this folder), or write one to start from: cdc-relay config init " + name
		}
		c.add(at, path, do, "%s: %v", what, err)
		return nil
	}
	p := &parser{collector: c, file: name, expand: expander{l.lookup, l.read}}
	return p.parse(data)
}

// resolvePaths makes relative paths relative to the file they stand in, and
// the default ones to first.
func (c *Config) resolvePaths(first string) {
	res := func(path string, s *string) {
		if *s == "" || filepath.IsAbs(*s) {
			return
		}
		dir := filepath.Dir(first)
		if n := c.from[path]; n != nil {
			dir = filepath.Dir(n.at.File)
		}
		*s = filepath.Join(dir, *s)
	}
	res("schemas", &c.Schemas)
	res("registry.tls.ca", &c.Registry.TLS.CA)
	res("registry.tls.cert", &c.Registry.TLS.Cert)
	res("registry.tls.key", &c.Registry.TLS.Key)
	for i := range c.Events {
		res(fmt.Sprintf("events[%d]", i), &c.Events[i])
	}
	for name, db := range c.Databases {
		for i := range db.Events {
			res(fmt.Sprintf("databases.%s.events[%d]", name, i), &db.Events[i])
		}
	}
}

// contracts decodes every contract file once, by its resolved name. A file with
// problems is left out.
func (l loader) contracts(c *collector, cfg *Config) map[string]contract.File {
	out := map[string]contract.File{}
	done := map[string]bool{}
	read := func(path string, names []string) {
		for i, name := range names {
			if done[name] {
				continue
			}
			done[name] = true
			sub, before := fmt.Sprintf("%s[%d]", path, i), len(c.list)
			if f := l.contract(c, cfg.places[sub], sub, name); len(c.list) == before {
				out[name] = f
			}
		}
	}
	read("events", cfg.Events)
	for _, name := range slices.Sorted(maps.Keys(cfg.Databases)) {
		read("databases."+name+".events", cfg.Databases[name].Events)
	}
	return out
}

func (l loader) contract(c *collector, at Place, path, name string) contract.File {
	f := contract.File{Name: name, Lines: map[string]int{}}
	n := l.parse(c, at, path, name)
	if n == nil {
		return f
	}
	d := newDecoder(c, reflect.TypeFor[contract.File]())
	d.record("", n, reflect.ValueOf(&f).Elem())
	for path, at := range d.places {
		f.Lines[path] = at.Line
	}
	return f
}
