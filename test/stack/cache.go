package stack

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"
)

// cache is the folder for everything downloaded or built once.
type cache struct {
	dir string
	out *printer
}

// printer writes whole lines, from several goroutines.
type printer struct {
	mu sync.Mutex
	w  io.Writer
}

func (p *printer) line(format string, args ...any) {
	p.mu.Lock()
	defer p.mu.Unlock()
	fmt.Fprintf(p.w, "stack: "+format+"\n", args...)
}

// cacheDir is $CDC_RELAY_CACHE, else .cache beside the nearest go.mod above the
// working directory, else the user's cache folder.
func cacheDir() (string, error) {
	if dir := os.Getenv("CDC_RELAY_CACHE"); dir != "" {
		return filepath.Abs(dir)
	}
	dir, err := os.Getwd()
	if err != nil {
		return "", err
	}
	for ; ; dir = filepath.Dir(dir) {
		if _, err := os.Stat(filepath.Join(dir, "go.mod")); err == nil {
			return filepath.Join(dir, ".cache"), nil
		}
		if dir == filepath.Dir(dir) {
			break
		}
	}
	dir, err = os.UserCacheDir()
	if err != nil {
		return "", fmt.Errorf("no cache folder; set CDC_RELAY_CACHE: %w", err)
	}
	return filepath.Join(dir, "cdc-relay"), nil
}

// once returns the path of an entry, made by build if it is not there yet.
// build fills a fresh folder beside it, which is then renamed: an entry is
// whole or absent. A file lock makes parallel processes wait for the first.
func (c *cache) once(ctx context.Context, entry string, build func(dir string) error) (string, error) {
	final := filepath.Join(c.dir, entry)
	if _, err := os.Stat(final); err == nil {
		return final, nil
	}
	if err := os.MkdirAll(filepath.Dir(final), 0o755); err != nil {
		return "", fmt.Errorf("cache folder: %w", err)
	}
	unlock, err := c.lock(ctx, entry)
	if err != nil {
		return "", err
	}
	defer unlock()
	if _, err := os.Stat(final); err == nil { // another process was faster
		return final, nil
	}
	tmp := final + ".part"
	if err := os.RemoveAll(tmp); err != nil { // left by a process that died
		return "", fmt.Errorf("remove the unfinished %s: %w", tmp, err)
	}
	if err := os.MkdirAll(tmp, 0o755); err != nil {
		return "", fmt.Errorf("cache folder: %w", err)
	}
	if err := build(tmp); err != nil {
		return "", errors.Join(fmt.Errorf("cache entry %s: %w", entry, err), os.RemoveAll(tmp))
	}
	if err := os.Rename(tmp, final); err != nil {
		return "", fmt.Errorf("cache entry %s: %w", entry, err)
	}
	return final, nil
}

// lock takes the lock of a name, waiting for other processes; they say what
// they do, so the wait only says that it waits.
func (c *cache) lock(ctx context.Context, name string) (unlock func(), err error) {
	dir := filepath.Join(c.dir, "locks")
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return nil, fmt.Errorf("folder of the cache locks: %w", err)
	}
	path := filepath.Join(dir, strings.ReplaceAll(name, "/", "_"))
	f, err := os.OpenFile(path, os.O_CREATE|os.O_RDWR, 0o644)
	if err != nil {
		return nil, fmt.Errorf("cache lock: %w", err)
	}
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	for waits := 0; ; waits++ {
		err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB)
		if err == nil {
			return func() { _ = f.Close() }, nil
		}
		if !errors.Is(err, syscall.EWOULDBLOCK) && !errors.Is(err, syscall.EINTR) {
			return nil, errors.Join(fmt.Errorf("lock %s: %w", path, err), f.Close())
		}
		if waits == 20 {
			c.out.line("waiting for another process that prepares %s", name)
		}
		select {
		case <-ctx.Done():
			return nil, errors.Join(fmt.Errorf("lock %s: %w", path, ctx.Err()), f.Close())
		case <-tick.C:
		}
	}
}

// mavenPlugin is pinned: without a version Maven would ask for the newest.
const mavenPlugin = "org.apache.maven.plugins:maven-dependency-plugin:3.6.1:"

// maven runs one goal of the dependency plugin. Where artifacts come from is
// the user's Maven settings' business; the local repository is in the cache.
func (c *cache) maven(ctx context.Context, dir, goal string, args ...string) error {
	mvn, err := exec.LookPath("mvn")
	if err != nil {
		return fmt.Errorf("%w: no Maven: %w", errUnavailable, err)
	}
	// Maven's local repository is not safe against parallel writers.
	unlock, err := c.lock(ctx, "maven-repository")
	if err != nil {
		return err
	}
	defer unlock()
	all := append([]string{"-B", "-q", "-Dmaven.repo.local=" + filepath.Join(c.dir, "maven"), mavenPlugin + goal}, args...)
	cmd := exec.CommandContext(ctx, mvn, all...)
	cmd.Dir = dir
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("%w: mvn %s: %w\n%s", errUnavailable, strings.Join(all, " "), err, out)
	}
	return nil
}

// mavenCopy downloads one artifact (group:name:version:type[:classifier]) into dir.
func (c *cache) mavenCopy(ctx context.Context, artifact, dir string) error {
	start := time.Now()
	c.out.line("downloading %s (Maven)", artifact)
	if err := c.maven(ctx, dir, "copy", "-Dartifact="+artifact, "-DoutputDirectory="+dir); err != nil {
		return err
	}
	c.out.line("downloaded %s in %.1f s", artifact, time.Since(start).Seconds())
	return nil
}

// turn waits until this machine has a processor for one more part that starts, in
// all processes that use the cache. Ten brokers that start at once are up as late
// as the last of them, and nothing else gets on meanwhile.
func (c *cache) turn(ctx context.Context) (done func(), err error) {
	dir := filepath.Join(c.dir, "locks")
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return nil, fmt.Errorf("folder of the cache locks: %w", err)
	}
	var got *os.File
	poll(startBound, 10*time.Millisecond, func() bool {
		for i := range runtime.NumCPU() {
			if got, err = tryTurn(filepath.Join(dir, "start-"+strconv.Itoa(i))); got != nil {
				return true
			}
		}
		return ctx.Err() != nil
	})
	if got == nil {
		return nil, fmt.Errorf("wait for a turn to start: %w", errors.Join(ctx.Err(), err))
	}
	return func() { _ = got.Close() }, nil // frees it
}

func tryTurn(path string) (*os.File, error) {
	f, err := os.OpenFile(path, os.O_CREATE|os.O_RDWR, 0o644)
	if err != nil {
		return nil, err
	}
	if err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return f, nil
}
