package stack

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// java is a Java runtime.
type java struct {
	path    string
	major   int
	version string // whole, as it names itself
}

var javaVersion = regexp.MustCompile(`version "((\d+)[^"]*)"`)

// findJava returns the runtime of JAVA_HOME, else of PATH, if it is 17 or newer.
func findJava(ctx context.Context) (java, error) {
	path := "java"
	if home := os.Getenv("JAVA_HOME"); home != "" {
		path = filepath.Join(home, "bin", "java")
	}
	path, err := exec.LookPath(path)
	if err != nil {
		return java{}, fmt.Errorf("no Java: %w", err)
	}
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	out, err := exec.CommandContext(ctx, path, "-version").CombinedOutput()
	if err != nil {
		return java{}, fmt.Errorf("%s -version: %w\n%s", path, err, out)
	}
	m := javaVersion.FindSubmatch(out)
	if m == nil {
		return java{}, fmt.Errorf("%s -version says: %s", path, out)
	}
	major, err := strconv.Atoi(string(m[2]))
	if err != nil || major < 17 {
		return java{}, fmt.Errorf("%s is Java %s, 17 or newer is needed", path, m[1])
	}
	return java{path: path, major: major, version: string(m[1])}, nil
}

// quick are the options for what starts soonest and stays small.
func quick() []string { return []string{"-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1"} }

// archive builds, once, an archive of a program's loaded classes (AppCDS): the
// next starts take half the time. It belongs to one Java and one class path, so
// both are part of the entry's name. train starts the program with the given
// options and returns it when it is ready; it is then asked to end, and writes
// the archive as it does.
func (s *Stack) archive(ctx context.Context, name string, j java, classPath string,
	train func(options []string, dir string) (*proc, error),
) (string, error) {
	sum := sha256.Sum256([]byte(j.path + "\n" + j.version + "\n" + classPath))
	entry := name + "-classes-" + hex.EncodeToString(sum[:6])
	dir, err := s.cache.once(ctx, entry, func(dir string) error {
		start := time.Now()
		s.out.line("building the class archive of %s, once", name)
		p, err := train([]string{"-XX:ArchiveClassesAtExit=" + filepath.Join(dir, "classes.jsa")}, dir)
		if err != nil {
			return err
		}
		if err := errors.Join(p.signal(syscall.SIGTERM), p.wait(patience)); err != nil {
			return errors.Join(err, p.killTree())
		}
		if _, err := os.Stat(filepath.Join(dir, "classes.jsa")); err != nil {
			return p.failure("wrote no class archive")
		}
		s.out.line("built the class archive of %s in %.1f s", name, time.Since(start).Seconds())
		return nil
	})
	return dir, err
}

// useArchive are the options to start with an archive. Should it not fit after
// all, Java goes on without it.
func useArchive(dir string) []string {
	return []string{"-XX:SharedArchiveFile=" + filepath.Join(dir, "classes.jsa"), "-Xshare:auto", "-Xlog:cds=off", "-Xlog:cds+dynamic=off"}
}

// jars returns the class path of a folder's jars: explicit names in a fixed
// order, because a class archive is bound to them.
func jars(dir string) (string, error) {
	all, err := filepath.Glob(filepath.Join(dir, "*.jar")) // sorted
	if err != nil || len(all) == 0 {
		return "", errors.Join(err, fmt.Errorf("no jars in %s", dir))
	}
	return strings.Join(all, string(os.PathListSeparator)), nil
}
