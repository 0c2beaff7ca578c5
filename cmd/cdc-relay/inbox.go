package main

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"github.com/cdc-relay/cdc-relay/consumer"
	"github.com/cdc-relay/cdc-relay/internal/fleet"
)

// inboxTimeout bounds `migrate --inbox`: a lock is waited for 15 s.
const inboxTimeout = time.Minute

// migrateInbox makes the consumers' table in the database of url, which is no
// database of the configuration: none is read.
func (a *app) migrateInbox(ctx context.Context, url string, dry bool) (err error) {
	ctx, cancel := context.WithTimeout(ctx, inboxTimeout)
	defer cancel()
	cfg, err := pgx.ParseConfig(url)
	if err != nil {
		return &fleet.UsageError{What: fmt.Sprintf("read the URL of --inbox: %v", err)} // pgx leaves the password out
	}
	if cfg.RuntimeParams["application_name"] == "" {
		cfg.RuntimeParams["application_name"] = "cdc-relay migrate"
	}
	if len(cfg.Fallbacks) > 0 && cfg.ValidateConnect == nil { // several hosts: a standby cannot be migrated
		cfg.ValidateConnect = pgconn.ValidateConnectTargetSessionAttrsPrimary
	}
	cfg.OnNotice = func(_ *pgconn.PgConn, n *pgconn.Notice) {
		if n.Code == "00000" { // raised by the script; not "already exists, skipping"
			fmt.Fprintf(a.err, "database %s: %s\n", cfg.Database, n.Message)
		}
	}
	conn, err := pgx.ConnectConfig(ctx, cfg)
	if err != nil {
		return fmt.Errorf("connect to the database of --inbox: %w", err)
	}
	defer func() { err = errors.Join(err, conn.Close(context.WithoutCancel(ctx))) }()
	before, err := consumer.Installed(ctx, conn)
	switch {
	case err != nil:
		return err
	case before >= consumer.Version:
		fmt.Fprintf(a.out, "database %s: the inbox is up to date (version %d)\n", cfg.Database, before)
		return nil
	case dry:
		fmt.Fprintf(a.out, "-- database %s: inbox, version %d\n%s", cfg.Database, consumer.Version, consumer.SQL)
		return nil
	}
	if err := consumer.Migrate(ctx, conn); err != nil {
		return err
	}
	fmt.Fprintf(a.out, "database %s: made the inbox, version %d\n", cfg.Database, consumer.Version)
	return nil
}
