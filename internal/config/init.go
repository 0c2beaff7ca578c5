package config

import (
	_ "embed"
	"io"
)

//go:embed init.yml
var initFile []byte

// Init writes a commented file to start from. Load takes it as it is, once
// events.yaml and schemas/avro stand beside it.
func Init(w io.Writer) error {
	_, err := w.Write(initFile)
	return err
}
