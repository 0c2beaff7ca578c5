package stack

import (
	"context"
	"errors"
	"io"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

func testCache(t *testing.T) *cache {
	return &cache{dir: t.TempDir(), out: &printer{w: io.Discard}}
}

// TestCacheBuildsAnEntryOnce lets many ask at the same time, each with a lock
// file of its own as separate processes have.
func TestCacheBuildsAnEntryOnce(t *testing.T) {
	t.Parallel()
	c := testCache(t)
	var builds, inside atomic.Int32
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			dir, err := c.once(t.Context(), "entry", func(dir string) error {
				if inside.Add(1) != 1 {
					t.Error("two builds at the same time")
				}
				defer inside.Add(-1)
				builds.Add(1)
				return os.WriteFile(filepath.Join(dir, "file"), []byte("whole"), 0o644)
			})
			if err != nil {
				t.Error(err)
				return
			}
			if got, err := os.ReadFile(filepath.Join(dir, "file")); string(got) != "whole" {
				t.Errorf("read %q, %v", got, err)
			}
		})
	}
	wg.Wait()
	if n := builds.Load(); n != 1 {
		t.Fatalf("%d builds, want 1", n)
	}
}

// TestCacheKeepsNothingHalf: a build that fails, and one whose process died in
// the middle, leave nothing that looks like an entry.
func TestCacheKeepsNothingHalf(t *testing.T) {
	t.Parallel()
	c := testCache(t)
	fail := errors.New("no network")
	if _, err := c.once(t.Context(), "entry", func(string) error { return fail }); !errors.Is(err, fail) {
		t.Fatalf("got %v", err)
	}
	half := filepath.Join(c.dir, "entry.part")
	if err := os.MkdirAll(half, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(half, "half"), nil, 0o644); err != nil {
		t.Fatal(err)
	}
	dir, err := c.once(t.Context(), "entry", func(string) error { return nil })
	if err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(filepath.Join(dir, "half")); !os.IsNotExist(err) {
		t.Fatal("the rest of a dead build is in the entry")
	}
}

// TestCacheLockIsGivenUp: who waits for a lock stops at the end of his context.
func TestCacheLockIsGivenUp(t *testing.T) {
	t.Parallel()
	c := testCache(t)
	unlock, err := c.lock(t.Context(), "name")
	if err != nil {
		t.Fatal(err)
	}
	defer unlock()
	ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
	defer cancel()
	if _, err := c.lock(ctx, "name"); !errors.Is(err, context.DeadlineExceeded) {
		t.Fatalf("got %v", err)
	}
}

func TestLeasesAreDistinct(t *testing.T) {
	t.Parallel()
	c := testCache(t)
	seen := map[int]bool{}
	for range 50 {
		l, err := leasePort(c)
		if err != nil {
			t.Fatal(err)
		}
		defer l.release()
		if seen[l.port] {
			t.Fatalf("port %d twice", l.port)
		}
		seen[l.port] = true
		if _, err := tryPort(filepath.Join(c.dir, "ports"), l.port); err == nil {
			t.Fatalf("port %d could be taken again", l.port)
		}
	}
}
