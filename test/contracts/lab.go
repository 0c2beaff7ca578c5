package contracts

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/cdc-relay/cdc-relay/migrations"
	"github.com/cdc-relay/cdc-relay/test/rig"
	"github.com/cdc-relay/cdc-relay/test/stack"
)

// Parts are what measurements share.
type Parts struct {
	Stack  *stack.Stack
	Binary string    // the relay
	Dir    string    // for logs and what is worth looking at after a failure
	Out    io.Writer // progress
}

// lab is the surroundings of one measurement: a database, topics and a name of
// its own.
type lab struct {
	*Parts
	name, dir, config string
	url               string
	db                *pgxpool.Pool
	log               *os.File
}

// lab makes a database with an outbox and writes the configuration of a relay.
func (p *Parts) lab(ctx context.Context, what string, c rig.Config) (_ *lab, err error) {
	id := strings.ReplaceAll(uuid.NewString(), "-", "")[:8]
	l := &lab{Parts: p, name: what + "-" + id, dir: filepath.Join(p.Dir, what)}
	defer func() {
		if err != nil {
			err = errors.Join(err, l.close(ctx))
		}
	}()
	database := what + "_" + id
	if err := l.create(ctx, database); err != nil {
		return nil, err
	}
	l.url = p.Stack.Postgres().URL(database)
	if _, err := migrations.Up(ctx, l.url); err != nil {
		return nil, err
	}
	if l.db, err = pgxpool.New(ctx, l.url); err != nil {
		return nil, err
	}
	if err := os.MkdirAll(l.dir, 0o755); err != nil {
		return nil, err
	}
	if l.log, err = os.Create(filepath.Join(l.dir, "relay.log")); err != nil {
		return nil, err
	}
	c.Name, c.Prefix, c.Postgres = l.name, l.name, l.url
	c.Bootstrap, c.Registry = p.Stack.Kafka().Bootstrap(), p.Stack.Registry().URL()
	c.Contract = strings.ReplaceAll(c.Contract, "PREFIX", l.name)
	l.config, err = c.Write(l.dir)
	return l, err
}

func (l *lab) create(ctx context.Context, database string) error {
	conn, err := pgx.Connect(ctx, l.Stack.Postgres().URL("postgres"))
	if err != nil {
		return err
	}
	defer conn.Close(context.WithoutCancel(ctx)) // nothing is lost with it
	_, err = conn.Exec(ctx, "create database "+pgx.Identifier{database}.Sanitize())
	return err
}

// start starts the relay.
func (l *lab) start() (*rig.Relay, error) {
	return rig.Start(l.Binary, nil, l.log, "-c", l.config, "run")
}

// verb runs a one-shot command and returns what it printed.
func (l *lab) verb(ctx context.Context, args ...string) (string, error) {
	out, err := exec.CommandContext(ctx, l.Binary, append([]string{"-c", l.config}, args...)...).CombinedOutput()
	if err != nil {
		return "", fmt.Errorf("cdc-relay %s: %w\n%s", strings.Join(args, " "), err, out)
	}
	return string(out), nil
}

// letters is the pipeline's dead letter topic: a pipeline of one database bears
// its name.
func (l *lab) letters(ctx context.Context) (string, error) {
	var database string
	err := l.db.QueryRow(ctx, "select current_database()").Scan(&database)
	return l.name + "." + database + ".dead-letters", err
}

func (l *lab) close(ctx context.Context) error {
	if l.db != nil {
		l.db.Close()
	}
	if l.log != nil {
		l.log.Close() // a copy for people
	}
	if l.url == "" {
		return nil
	}
	u := l.url[strings.LastIndex(l.url, "/")+1:]
	name, _, _ := strings.Cut(u, "?")
	return l.Stack.Postgres().DropDatabase(context.WithoutCancel(ctx), name)
}

func (p *Parts) say(format string, args ...any) { fmt.Fprintf(p.Out, format+"\n", args...) }
