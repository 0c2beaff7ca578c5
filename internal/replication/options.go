package replication

import (
	"context"
	"fmt"
	"log/slog"
	"regexp"
	"strconv"
	"strings"
	"time"

	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgconn/ctxwatch"
	"github.com/prometheus/client_golang/prometheus"
)

// Defaults and limits of a Source.
const (
	defaultSenderTimeout = 10 * time.Second
	minSenderTimeout     = time.Second
	connectTimeout       = 10 * time.Second
	sqlTimeout           = 5 * time.Second
	closeTimeout         = 5 * time.Second
	watchInterval        = 10 * time.Second
	maxTick              = 500 * time.Millisecond
)

// Options say what a Source reads. The zero value of a field is its default.
type Options struct {
	// URL is a connection string as pgx reads it: postgres://… with several
	// hosts if need be, or key=value pairs. PG* variables and the password file
	// fill in what it leaves out.
	URL string
	// ApplicationName is what pg_stat_replication shows. Default "cdc-relay".
	ApplicationName string
	// Slot is the replication slot: a-z, 0-9 and _, at most 63.
	Slot string
	// CopyOf names an anchor. Take then makes Slot a temporary copy of it, on
	// the replication connection, with which it ends.
	CopyOf string
	// Publication names the publication the slot is read through.
	Publication string
	// Tables are the tables whose inserts are returned, as schema.table without
	// quotes. A partitioned table needs publish_via_partition_root.
	Tables []string
	// MessagePrefix, if set, turns transactional logical messages
	// (pg_logical_emit_message) of exactly this prefix into rows.
	MessagePrefix string
	// SenderTimeout is wal_sender_timeout on the replication connection: how
	// soon the server gives the slot free when this host is dead. Default 10 s,
	// at least 1 s.
	SenderTimeout time.Duration
	// Failover makes Create ask for a slot that standbys keep in step
	// (PostgreSQL 17 and later; before, it is left out).
	Failover bool
	// Logger, if nil, discards.
	Logger *slog.Logger
	// Registerer, if nil, leaves the metrics unregistered.
	Registerer prometheus.Registerer
}

var slotName = regexp.MustCompile(`^[a-z0-9_]{1,63}$`)

// Validate reports the first value that cannot work, before anything connects.
func (o Options) Validate() error {
	switch {
	case !slotName.MatchString(o.Slot):
		return fmt.Errorf("slot %q: want 1 to 63 of a-z, 0-9 and _", o.Slot)
	case o.CopyOf != "" && !slotName.MatchString(o.CopyOf):
		return fmt.Errorf("anchor %q: want 1 to 63 of a-z, 0-9 and _", o.CopyOf)
	case o.CopyOf == o.Slot:
		return fmt.Errorf("slot %q: a copy needs a name of its own", o.Slot)
	case o.Publication == "" || len(o.Publication) > 63:
		return fmt.Errorf("publication %q: want 1 to 63 bytes", o.Publication)
	case o.SenderTimeout != 0 && o.SenderTimeout < minSenderTimeout:
		return fmt.Errorf("sender timeout %s: want at least %s", o.SenderTimeout, minSenderTimeout)
	}
	for _, t := range o.Tables {
		if schema, table := splitTable(t); schema == "" || table == "" {
			return fmt.Errorf("table %q: want schema.table", t)
		}
	}
	if _, err := pgconn.ParseConfig(o.URL); err != nil {
		return fmt.Errorf("postgres connection string: %w", err)
	}
	return nil
}

// Fingerprint names the stream options that decide which ordinal a row gets. A
// transaction of which some rows are in Kafka already may only be read on with
// the same fingerprint.
func (o Options) Fingerprint() string {
	messages := "off"
	if o.MessagePrefix != "" {
		messages = "on"
	}
	return "pgoutput proto_version=1 streaming=off two_phase=off messages=" + messages
}

// pluginArgs are the options of START_REPLICATION. Those left out (binary,
// streaming, two_phase, origin) have the default off (origin: any) since the
// version that brought them; naming them would fail on older servers.
func (o Options) pluginArgs() []string {
	args := []string{"proto_version '1'", "publication_names " + quoteLiteral(quoteIdent(o.Publication))}
	if o.MessagePrefix != "" {
		args = append(args, "messages 'true'")
	}
	return args
}

func (o Options) senderTimeout() time.Duration {
	if o.SenderTimeout == 0 {
		return defaultSenderTimeout
	}
	return o.SenderTimeout
}

func (o Options) logger() *slog.Logger {
	if o.Logger == nil {
		return slog.New(slog.DiscardHandler)
	}
	return o.Logger.With("component", "replication", "slot", o.Slot)
}

// connKind is what a connection is for.
type connKind uint8

const (
	forReading     connKind = iota // plain SQL; a cancelled call breaks the connection's read
	forChange                      // plain SQL; a cancelled call cancels the statement on the server
	forReplication                 // walsender
)

// dial opens a connection. What the text form of a value depends on is pinned,
// because the walsender prints values by these settings.
func (o Options) dial(ctx context.Context, kind connKind) (*pgconn.PgConn, error) {
	if err := o.Validate(); err != nil {
		return nil, err
	}
	cfg, err := pgconn.ParseConfig(o.URL)
	if err != nil {
		return nil, fmt.Errorf("postgres connection string: %w", err)
	}
	app := o.ApplicationName
	if app == "" {
		app = "cdc-relay"
	}
	set := map[string]string{
		"application_name": app, "client_encoding": "UTF8", "datestyle": "ISO", "intervalstyle": "postgres",
		"timezone": "UTC", "extra_float_digits": "3", "bytea_output": "hex",
		"statement_timeout": "0", "lock_timeout": "0", "idle_session_timeout": "0", "client_min_messages": "warning",
	}
	if kind == forReplication {
		set["replication"] = "database"
		set["wal_sender_timeout"] = strconv.FormatInt(o.senderTimeout().Milliseconds(), 10)
	}
	for k, v := range set {
		cfg.RuntimeParams[k] = v
	}
	if cfg.ConnectTimeout == 0 {
		cfg.ConnectTimeout = connectTimeout
	}
	if kind == forChange {
		// A cancelled call cancels its statement too, so that nothing (a slot
		// that waits for running transactions) comes to be behind our back.
		cfg.BuildContextWatcherHandler = func(pc *pgconn.PgConn) ctxwatch.Handler {
			return &pgconn.CancelRequestContextWatcherHandler{Conn: pc, DeadlineDelay: sqlTimeout}
		}
	}
	return connectPrimary(ctx, cfg)
}

// splitTable cuts schema.table at the first dot.
func splitTable(name string) (schema, table string) {
	schema, table, _ = strings.Cut(name, ".")
	return schema, table
}

func quoteIdent(s string) string { return `"` + strings.ReplaceAll(s, `"`, `""`) + `"` }

// quoteLiteral quotes for the replication grammar and for SQL with
// standard_conforming_strings: a backslash is itself in both.
func quoteLiteral(s string) string { return "'" + strings.ReplaceAll(s, "'", "''") + "'" }

func quoteTable(name string) string {
	schema, table := splitTable(name)
	return quoteIdent(schema) + "." + quoteIdent(table)
}
