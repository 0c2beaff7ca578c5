package registry

import (
	"fmt"
	"io/fs"
	"maps"
	"path"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"github.com/cdc-relay/cdc-relay/internal/contract"
)

// Schemas are the schemas of a folder of *.avsc files, each complete in itself.
// They are immutable and safe for concurrent use.
type Schemas struct {
	texts map[string]map[int]string // name → version → text
	plain map[string]string         // those whose name has no version
}

// versioned splits a file name: AssessmentResultEventV1 is version 1 of
// AssessmentResultEvent. The version is a decimal number from 1.
var versioned = regexp.MustCompile(`^(.+)V([1-9][0-9]{0,8})$`)

// LoadSchemas reads every *.avsc file at the top of fsys. A file holds one
// named type that bears the file's name; AssessmentResultEventV1.avsc is
// version 1 of AssessmentResultEvent. A name without a version (ArtifactRef)
// can be referred to by siblings only.
//
// Named types of sibling files are inlined where they are first used. The text
// that comes out is deterministic: white space and the order of keys in a file
// do not matter, doc strings, defaults and attributes Avro does not know (the
// constraints) stay. An error names the file and the type.
func LoadSchemas(fsys fs.FS) (*Schemas, error) {
	names, err := fs.Glob(fsys, "*.avsc")
	if err != nil {
		return nil, fmt.Errorf("list *.avsc files: %w", err)
	}
	if len(names) == 0 {
		return nil, fmt.Errorf("no *.avsc file in the schema folder: put one there, or correct the folder in the configuration")
	}
	lib := newLibrary()
	for _, name := range names {
		if err := loadFile(lib, fsys, name); err != nil {
			return nil, err
		}
	}
	if err := lib.refuseCycles(names); err != nil {
		return nil, err
	}
	s := &Schemas{texts: map[string]map[int]string{}, plain: map[string]string{}}
	for _, name := range names {
		text, err := lib.inline(name)
		if err != nil {
			return nil, err
		}
		m := versioned.FindStringSubmatch(strings.TrimSuffix(path.Base(name), ".avsc"))
		if m == nil {
			s.plain[strings.TrimSuffix(path.Base(name), ".avsc")] = text
			continue // for siblings, and for the relay's own use
		}
		version, err := strconv.Atoi(m[2])
		if err != nil {
			return nil, fmt.Errorf("schema file %s: version %q: %w", name, m[2], err)
		}
		if s.texts[m[1]] == nil {
			s.texts[m[1]] = map[int]string{}
		}
		s.texts[m[1]][version] = text
	}
	return s, nil
}

func loadFile(lib *library, fsys fs.FS, name string) error {
	raw, err := fs.ReadFile(fsys, name)
	if err != nil {
		return fmt.Errorf("read schema file %s: %w", name, err)
	}
	tree, err := parseJSON(raw)
	if err != nil {
		return fmt.Errorf("schema file %s: %w", name, err)
	}
	return lib.add(name, tree)
}

// Schema returns the complete text of one schema, as JSON on one line.
func (s *Schemas) Schema(name string, version int) (text string, ok bool) {
	text, ok = s.texts[name][version]
	return text, ok
}

// Plain returns the complete text of a schema whose name has no version, as
// ArtifactRef.
func (s *Schemas) Plain(name string) (text string, ok bool) {
	text, ok = s.plain[name]
	return text, ok
}

// Versions returns the versions there are of a schema, ascending; nil when
// there is none of that name.
func (s *Schemas) Versions(name string) []int {
	if len(s.texts[name]) == 0 {
		return nil
	}
	return slices.Sorted(maps.Keys(s.texts[name]))
}

// Names returns the names of all schemas, in alphabetical order.
func (s *Schemas) Names() []string { return slices.Sorted(maps.Keys(s.texts)) }

// Missing says in words why Schema found nothing, and what is nearest.
func (s *Schemas) Missing(name string, version int) error {
	if have := s.Versions(name); have != nil {
		return fmt.Errorf("schema %s has no version %d (it has %v): add %sV%d.avsc to the schema folder", name, version, have, name, version)
	}
	hint := ""
	if near, ok := contract.Nearest(name, s.Names()); ok {
		hint = fmt.Sprintf("; did you mean %s?", near)
	}
	return fmt.Errorf("there is no schema %s (no file %sV%d.avsc in the schema folder)%s", name, name, version, hint)
}
