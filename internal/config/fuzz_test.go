package config

import (
	"bytes"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"testing"
	"time"
)

func regexpMultiline(pattern string) *regexp.Regexp { return regexp.MustCompile("(?m)" + pattern) }

// FuzzLoad: no input makes Load panic; what it refuses it refuses with places;
// what it loads it can show.
func FuzzLoad(f *testing.F) {
	for _, pattern := range []string{"testdata/bad/*.yml", "testdata/bad/parts/*.yaml"} {
		files, err := filepath.Glob(pattern)
		if err != nil {
			f.Fatal(err)
		}
		for _, file := range files {
			b, err := os.ReadFile(file)
			if err != nil {
				f.Fatal(err)
			}
			f.Add(b, []byte(eventsYAML))
			f.Add([]byte(smallest), b)
		}
	}
	f.Fuzz(func(t *testing.T, conf, events []byte) {
		l := loader{
			lookup: env("A", "1", "SECRET", "x"),
			read: func(name string) ([]byte, error) {
				switch filepath.Base(name) {
				case "c.yml":
					return conf, nil
				case "events.yaml":
					return events, nil
				}
				return nil, fs.ErrNotExist
			},
			stat:     func(string) (fs.FileInfo, error) { return folderInfo{}, nil },
			postgres: func(string) error { return nil },
		}
		cfg, err := l.load([]string{"c.yml"})
		if err != nil {
			var ps Problems
			if !errors.As(err, &ps) || len(ps) == 0 || err.Error() == "" {
				t.Fatalf("%T %v", err, err)
			}
			return
		}
		if len(cfg.Pipelines()) == 0 {
			t.Fatal("loaded without a pipeline")
		}
		var out bytes.Buffer
		if err := cfg.Show(&out, true); err != nil {
			t.Fatal(err)
		}
	})
}

// folderInfo is a folder that exists.
type folderInfo struct{}

func (folderInfo) Name() string       { return "folder" }
func (folderInfo) Size() int64        { return 0 }
func (folderInfo) Mode() fs.FileMode  { return fs.ModeDir }
func (folderInfo) ModTime() time.Time { return time.Time{} }
func (folderInfo) IsDir() bool        { return true }
func (folderInfo) Sys() any           { return nil }
