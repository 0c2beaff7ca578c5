package matrix

import (
	"errors"
	"fmt"

	"github.com/cdc-relay/cdc-relay/migrations"
	"github.com/cdc-relay/cdc-relay/test/stack"
)

// The stories in which a checkpoint is rebased.

// command runs a one-shot command of the relay to its end.
func (l *lab) command(args ...string) error {
	r, err := l.launch(args)
	if err != nil {
		return err
	}
	code, err := r.Exit(l.ctx)
	if err == nil && code != 0 {
		err = fmt.Errorf("%v: exit code %d:\n%s", args, code, tail(r.Log()))
	}
	return err
}

// publicationChanged changes the publication under load in a way that loses no
// row, which the relay cannot know: it refuses, and goes on when it is told to.
func publicationChanged(l *lab) error {
	r, err := l.streaming()
	if err != nil {
		return err
	}
	if err := l.sql("alter publication cdc_relay set (publish = 'insert, update')"); err != nil {
		return err
	}
	if err := r.refused(l.ctx, "publication"); err != nil {
		return err
	}
	again, err := l.launch([]string{"run"})
	if err != nil {
		return err
	}
	if err := again.refused(l.ctx, "--accept-publication"); err != nil {
		return err
	}
	if err := l.command("checkpoint", "rebase", "--accept-publication"); err != nil {
		return err
	}
	_, err = l.run()
	return err
}

// lowerLSN moves the pipeline to another Postgres cluster whose log is shorter:
// the last checkpoint has a lower LSN than those before it, and is the one that
// counts, at this start and at the next.
func lowerLSN(l *lab) error {
	r, err := l.run()
	if err != nil {
		return err
	}
	// A log that is far ahead of a fresh server's.
	for range 6 {
		if err := l.sql("select pg_switch_wal(), txid_current()"); err != nil {
			return err
		}
	}
	if err := l.flows(); err != nil {
		return err
	}
	if err := r.stop(l.ctx); err != nil {
		return err
	}
	if err := l.leave(); err != nil {
		return err
	}
	pg, end, err := l.w.stack.NewPostgres(l.ctx)
	if err != nil {
		return err
	}
	l.after = append(l.after, end)
	if err := l.move(pg); err != nil {
		return err
	}
	refused, err := l.launch([]string{"run"})
	if err != nil {
		return err
	}
	if err := refused.refused(l.ctx, "--accept-new-cluster"); err != nil {
		return err
	}
	if err := l.command("checkpoint", "rebase", "--accept-new-cluster"); err != nil {
		return err
	}
	for range 2 {
		if r, err = l.run(); err != nil {
			return err
		}
		l.load = l.load0()
		if err := l.flows(); err != nil {
			return err
		}
		l.load.stop()
		if err := l.flows(); err != nil {
			return err
		}
		r.kill()
	}
	_, err = l.run()
	return err
}

// leave judges what happened on the server that is left.
func (l *lab) leave() error {
	if err := l.watch.toTheEnd(recoverWithin); err != nil {
		return err
	}
	e, err := l.evidence()
	if err != nil {
		return err
	}
	if v := Check(e); !v.Sound() {
		return fmt.Errorf("before the move: %s %v", v, v.Complaints)
	}
	l.judged = judged{records: map[string]bool{}, marks: len(e.Marks), samples: len(e.Samples)}
	for _, r := range e.Records {
		l.judged.records[r.ID] = true
	}
	return nil
}

// move goes over to another server, which has a database of the same name.
func (l *lab) move(pg *stack.PG) error {
	l.url = pg.URL("postgres")
	err := l.sql("create database " + l.database)
	if err != nil {
		return err
	}
	l.url = pg.URL(l.database)
	_, err = migrations.Up(l.ctx, l.url)
	l.conf.Postgres = l.url
	l.watch.mu.Lock()
	l.watch.url = l.url
	l.judged.samples = len(l.watch.samples) // those since leave were of the server that was left
	l.watch.mu.Unlock()
	return errors.Join(err, l.configure(""), l.makeTruth())
}
