package rig

import (
	"io/fs"
	"path/filepath"
	"sync"
)

// Sources looks at every folder the relay is built from, and at the clients in
// other languages, once. The go command
// keeps the result of a test until something the test looked at changes, and a
// program that TestMain builds is no such thing: without this, a test of the
// built relay stays green from the cache whatever becomes of the relay. Call it
// within a test; what happens in TestMain before is not noted.
var Sources = sync.OnceValue(func() error {
	for _, top := range []string{"cmd", "internal", "migrations", "schemas", "clients"} {
		err := filepath.WalkDir(filepath.Join(Root(), top), func(_ string, _ fs.DirEntry, err error) error { return err })
		if err != nil {
			return err
		}
	}
	return nil
})
