// Package schemas carries the Avro schemas that come with the relay, so that a
// binary can use them without a folder beside it.
//
// One file holds one named type and bears its name. A type of another file is
// referred to by its name; internal/registry inlines it.
package schemas

import (
	"embed"
	"io/fs"
)

//go:embed avro/*.avsc
var files embed.FS

// Avro returns the folder of the shipped *.avsc files.
func Avro() (fs.FS, error) { return fs.Sub(files, "avro") }
