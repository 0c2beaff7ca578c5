package config

import (
	"errors"
	"flag"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

var update = flag.Bool("update", false, "write the expected messages anew")

// noEnv is an environment without variables.
func noEnv(string) (string, bool) { return "", false }

func env(pairs ...string) func(string) (string, bool) {
	m := map[string]string{}
	for i := 0; i < len(pairs); i += 2 {
		m[pairs[i]] = pairs[i+1]
	}
	return func(k string) (string, bool) { v, ok := m[k]; return v, ok }
}

// Every file in testdata/bad is refused with exactly the messages beside it.
func TestGallery(t *testing.T) {
	t.Parallel()
	files, err := filepath.Glob("testdata/bad/*.yml")
	if err != nil || len(files) < 30 {
		t.Fatalf("the gallery has %d files (%v), want at least 30", len(files), err)
	}
	for _, file := range files {
		t.Run(filepath.Base(file), func(t *testing.T) {
			t.Parallel()
			cfg, err := Load([]string{file}, noEnv)
			if err == nil {
				t.Fatalf("loaded: %+v", cfg)
			}
			var ps Problems
			if !errors.As(err, &ps) || len(ps) == 0 {
				t.Fatalf("%T %v, want Problems", err, err)
			}
			got := err.Error() + "\n"
			for _, p := range ps {
				if p.At.File == "" || p.What == "" {
					t.Errorf("%+v says not where or not what", p)
				}
			}
			if strings.Contains(got, "s3cret") {
				t.Errorf("a secret is in the message:\n%s", got)
			}
			golden(t, strings.TrimSuffix(file, ".yml")+".txt", got)
		})
	}
}

func golden(t *testing.T, file, got string) {
	t.Helper()
	if *update {
		if err := os.WriteFile(file, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	want, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if got != string(want) {
		t.Errorf("%s:\ngot:\n%s\nwant:\n%s", file, got, want)
	}
}
