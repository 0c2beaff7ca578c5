package registry

import (
	"fmt"
	"io/fs"
	"maps"
	"regexp"
	"slices"

	"github.com/cdc-relay/cdc-relay/internal/contract"
)

// Schemas are the schemas of a folder of *.avsc files, each complete in itself.
// They are immutable and safe for concurrent use.
type Schemas struct {
	texts map[string]map[int]string // name → version → text
	files map[string]part           // file → what of it can be registered on its own
}

// versioned splits a file name: AssessmentResultEventV1 is version 1 of
// AssessmentResultEvent. The version is a decimal number from 1.
var versioned = regexp.MustCompile(`^(.+)V([1-9][0-9]{0,8})$`)

// LoadSchemas reads every *.avsc file at the top of fsys. A file holds one
// named type that bears the file's name, with or without the version;
// AssessmentResultEventV1.avsc is version 1 of AssessmentResultEvent. A file
// name without a version (ArtifactRef) can be referred to by siblings only.
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
	s := &Schemas{texts: map[string]map[int]string{}, files: map[string]part{}}
	for _, name := range names {
		if err := s.add(lib, name); err != nil {
			return nil, err
		}
	}
	return s, nil
}

// add puts together the schema of one file.
func (s *Schemas) add(lib *library, file string) error {
	p, err := lib.part(file)
	if err != nil {
		return err
	}
	s.files[file] = p
	if p.version == 0 {
		return nil // for siblings only
	}
	if s.texts[p.name] == nil {
		s.texts[p.name] = map[int]string{}
	}
	s.texts[p.name][p.version] = p.complete
	return nil
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
	p, ok := s.files[name+".avsc"]
	return p.complete, ok && p.version == 0
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
