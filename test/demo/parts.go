package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/url"
	"os"
	"strings"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"

	"github.com/cdc-relay/cdc-relay/test/stack"
)

// parts are the Postgres, the broker and the registry of the demo.
type parts struct {
	stack *stack.Stack
	pg    *stack.PG
	kafka *stack.Kafka
	sr    *stack.SR
	ours  bool // they end with the demo; else it tidies up behind itself
}

// openParts starts them, or takes what the environment names; out gets a line
// for each that says what was chosen and why.
func openParts(ctx context.Context, out io.Writer) (*parts, error) {
	s, err := stack.Start(ctx, stack.Options{}, out)
	if err != nil {
		return nil, err
	}
	p := &parts{stack: s, pg: s.Postgres(), kafka: s.Kafka(), sr: s.Registry()}
	p.ours = os.Getenv(stack.Variable) == "" && p.pg.Info().Kind != "external" && p.kafka.Kind() != "external"
	return p, nil
}

// embedded reports that the broker or the registry is an imitation.
func (p *parts) embedded() bool { return p.kafka.Kind() == "embedded" || p.sr.Kind() == "embedded" }

// names returns the name of the relay, which is the prefix of the topics too,
// and that of the database: plain ones where nobody else is.
func (p *parts) names() (relay, database string) {
	if p.ours {
		return "demo", "demo"
	}
	id := strings.ReplaceAll(uuid.NewString(), "-", "")[:8]
	return "demo-" + id, "demo_" + id
}

func (p *parts) createDatabase(ctx context.Context, name string) error {
	conn, err := pgx.Connect(ctx, p.pg.URL("postgres"))
	if err != nil {
		return err
	}
	defer conn.Close(context.WithoutCancel(ctx)) // nothing is lost with it
	if _, err := conn.Exec(ctx, "create database "+pgx.Identifier{name}.Sanitize()); err != nil {
		return fmt.Errorf("create the database: %w", err)
	}
	return nil
}

// close ends the parts. On servers that stay it removes what the demo made but
// the relay's last checkpoint and the subjects in the registry.
func (p *parts) close(ctx context.Context, database string, topics []string) error {
	var errs []error
	if !p.ours && database != "" {
		errs = append(errs, p.pg.DropDatabase(ctx, database))
		for _, t := range topics {
			errs = append(errs, p.kafka.DeleteTopic(ctx, t))
		}
	}
	return errors.Join(append(errs, p.stack.Close())...)
}

// hostOf is the address in a URL, without what is secret in it.
func hostOf(address string) string {
	u, err := url.Parse(address)
	if err != nil {
		return ""
	}
	return u.Host + u.Path
}
