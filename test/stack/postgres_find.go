package stack

import (
	"archive/tar"
	"archive/zip"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync"

	"github.com/xi2/xz"
)

// pgOldest and pgNewest are the major versions the relay supports.
const (
	pgOldest = 14
	pgNewest = 19
)

// pgReleases are the releases Maven's embedded binaries are taken in, by major.
// Of 19 there is none yet: it is taken where the machine has it, and everywhere
// with a line here.
var pgReleases = map[int]string{14: "14.24.0", 15: "15.19.0", 16: "16.15.0", 17: "17.11.0", 18: "18.6.0"}

// pgDefault is the version taken from Maven or a container without a wish.
const pgDefault = 17

// Versions are the major versions of PostgreSQL that the relay supports and this
// machine can have, the oldest first: one from Maven, or newer and installed.
func Versions() []int { return slices.Clone(versions()) }

var versions = sync.OnceValue(func() []int {
	last := newest(pgReleases, 0)
	if wish := os.Getenv(postgresVariable); wish == "" || wish == "installed" {
		last = max(last, newest(installedPostgres(context.Background()), 0))
	}
	var all []int
	for v := pgOldest; v <= last; v++ {
		all = append(all, v)
	}
	return all
})

// Ends are the oldest and the newest of Versions.
func Ends() []int {
	all := versions()
	return []int{all[0], all[len(all)-1]}
}

// installedPostgres finds servers of the machine's packages, by major version:
// Debian's folders, RPM's, Homebrew's, and PATH.
func installedPostgres(ctx context.Context) map[int]string {
	found := map[int]string{}
	var dirs []string
	for _, pattern := range []string{
		"/usr/lib/postgresql/*/bin", "/usr/pgsql-*/bin",
		"/opt/homebrew/opt/postgresql@*/bin", "/usr/local/opt/postgresql@*/bin",
	} {
		m, _ := filepath.Glob(pattern) // the patterns are constant and right
		dirs = append(dirs, m...)
	}
	if path, err := exec.LookPath("initdb"); err == nil {
		if real, err := filepath.EvalSymlinks(path); err == nil {
			dirs = append(dirs, filepath.Dir(real))
		}
	}
	for _, dir := range dirs {
		if _, err := os.Stat(filepath.Join(dir, "initdb")); err != nil {
			continue
		}
		out, err := exec.CommandContext(ctx, filepath.Join(dir, "postgres"), "--version").Output()
		if err != nil {
			continue
		}
		if v := pgMajor(string(out)); v >= pgOldest && v <= pgNewest && found[v] == "" {
			found[v] = dir
		}
	}
	return found
}

// pgMajor reads "postgres (PostgreSQL) 15.12 (Debian …)"; 0 if it is not that.
func pgMajor(s string) int {
	_, rest, ok := strings.Cut(s, "(PostgreSQL) ")
	if !ok {
		return 0
	}
	end := strings.IndexFunc(rest, func(r rune) bool { return r < '0' || r > '9' })
	if end < 0 {
		end = len(rest)
	}
	v, _ := strconv.Atoi(rest[:end]) // 0 when empty
	return v
}

// mavenPostgres returns the bin folder of Maven's embedded binaries, downloaded
// and unpacked once.
func (c *cache) mavenPostgres(ctx context.Context, version int) (string, error) {
	release, ok := pgReleases[version]
	if !ok {
		return "", fmt.Errorf("%w: Maven has no embedded binaries of PostgreSQL %d", errUnavailable, version)
	}
	arch := runtime.GOARCH
	if arch == "arm64" {
		arch = "arm64v8"
	}
	name := "embedded-postgres-binaries-" + runtime.GOOS + "-" + arch
	dir, err := c.once(ctx, name+"-"+release, func(dir string) error {
		if err := c.mavenCopy(ctx, "io.zonky.test.postgres:"+name+":"+release+":jar", dir); err != nil {
			return err
		}
		jar := filepath.Join(dir, name+"-"+release+".jar")
		if err := unpackTxzInJar(jar, dir); err != nil {
			return fmt.Errorf("unpack %s: %w", filepath.Base(jar), err)
		}
		return os.Remove(jar)
	})
	return filepath.Join(dir, "bin"), err
}

// unpackTxzInJar unpacks the one .txz of a jar into dir.
func unpackTxzInJar(jar, dir string) error {
	z, err := zip.OpenReader(jar)
	if err != nil {
		return err
	}
	defer func() { _ = z.Close() }()
	for _, f := range z.File {
		if !strings.HasSuffix(f.Name, ".txz") {
			continue
		}
		r, err := f.Open()
		if err != nil {
			return err
		}
		defer func() { _ = r.Close() }()
		x, err := xz.NewReader(r, 0)
		if err != nil {
			return err
		}
		return unpackTar(x, dir)
	}
	return errors.New("there is no .txz in it")
}

// unpackTar unpacks files, folders and links. Names that lead out of dir are
// refused: os.Root does not follow them.
func unpackTar(r io.Reader, dir string) error {
	root, err := os.OpenRoot(dir)
	if err != nil {
		return err
	}
	defer func() { _ = root.Close() }()
	t := tar.NewReader(r)
	for {
		h, err := t.Next()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
		if err := unpackEntry(root, h, t); err != nil {
			return fmt.Errorf("%s: %w", h.Name, err)
		}
	}
}

func unpackEntry(root *os.Root, h *tar.Header, r io.Reader) error {
	name := filepath.Clean(h.Name)
	if err := root.MkdirAll(filepath.Dir(name), 0o755); err != nil {
		return err
	}
	switch h.Typeflag {
	case tar.TypeDir:
		return root.MkdirAll(name, 0o755)
	case tar.TypeSymlink:
		return root.Symlink(h.Linkname, name)
	case tar.TypeLink:
		return root.Link(filepath.Clean(h.Linkname), name)
	case tar.TypeReg:
		f, err := root.OpenFile(name, os.O_CREATE|os.O_WRONLY|os.O_TRUNC, 0o644|os.FileMode(h.Mode&0o111))
		if err != nil {
			return err
		}
		_, err = io.Copy(f, r)
		return errors.Join(err, f.Close())
	default:
		return fmt.Errorf("unexpected entry of type %q", h.Typeflag)
	}
}
