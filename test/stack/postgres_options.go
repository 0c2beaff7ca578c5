package stack

import (
	"fmt"
	"maps"
	"slices"
	"strings"
)

// PGOption is a wish about a PostgreSQL server.
type PGOption func(*pgConfig)

type pgConfig struct {
	version  int // major; 0: whatever starts soonest
	settings map[string]string
	tls      bool
}

// Version asks for a major version, 14 to 19; see [Versions].
func Version(major int) PGOption { return func(c *pgConfig) { c.version = major } }

// Setting sets a server parameter (postgresql.conf), over those of this package.
func Setting(name, value string) PGOption {
	return func(c *pgConfig) { c.settings[name] = value }
}

// TLS makes the server speak TLS, with a certificate of an authority of its
// own; see [PG.TLSURL]. Plain connections stay possible.
func TLS() PGOption { return func(c *pgConfig) { c.tls = true } }

func newPGConfig(opts []PGOption) (pgConfig, error) {
	c := pgConfig{settings: map[string]string{}}
	for _, o := range opts {
		o(&c)
	}
	if c.version != 0 && (c.version < pgOldest || c.version > pgNewest) {
		return c, fmt.Errorf("PostgreSQL version %d: the stack knows %d to %d", c.version, pgOldest, pgNewest)
	}
	return c, nil
}

// key names the configuration: parts are shared between those who wish the same.
func (c pgConfig) key() string {
	var b strings.Builder
	fmt.Fprintf(&b, "v%d tls=%v", c.version, c.tls)
	for _, name := range slices.Sorted(maps.Keys(c.settings)) {
		fmt.Fprintf(&b, " %s=%s", name, c.settings[name])
	}
	return b.String()
}

// baseSettings returns the parameters every server of the stack gets.
//
// fsync is off: tests kill processes, not machines. What a process wrote is in
// the kernel's page cache and survives any SIGKILL of any process; only a crash
// of the operating system could lose it, and then the test is lost too.
// synchronous_commit stays on, so a commit still writes its WAL before it is
// acknowledged, and full_page_writes off follows from the same argument.
// Sizes are small because several servers share a small machine.
func baseSettings() map[string]string {
	return map[string]string{
		"wal_level":             "logical",
		"max_replication_slots": "64",
		"max_wal_senders":       "64",
		"max_connections":       "200",
		"fsync":                 "off",
		"full_page_writes":      "off",
		"shared_buffers":        "64MB",
		"min_wal_size":          "80MB",
		"listen_addresses":      "127.0.0.1",
		"log_checkpoints":       "off",
		"timezone":              "UTC",
		"log_timezone":          "UTC",
		"jit":                   "off",
	}
}

// merged returns the base settings for a version with the wishes over them. From
// 19 on wal_level stays what it is by default, replica: logical decoding comes and
// goes with the slots there, and nobody sets more than that.
func (c pgConfig) merged(version int) map[string]string {
	all := baseSettings()
	if version >= 19 {
		delete(all, "wal_level")
	}
	maps.Copy(all, c.settings)
	return all
}
