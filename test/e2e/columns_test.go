package e2e

import (
	"context"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/cdc-relay/cdc-relay/outbox"
)

// The table changes its shape while events flow: the stream goes on, and not one
// event is read with the shape of another moment.
func TestColumnsChangeInMidStream(t *testing.T) {
	n := newLane(t)
	r := n.start()
	changes := []string{
		`alter table cdc_relay.outbox add column tenant text`,
		`alter table cdc_relay.outbox add column shard int not null default 7`,
		`alter table cdc_relay.outbox rename column shard to region`,
		`alter table cdc_relay.outbox drop column created_at`,
		`alter table cdc_relay.outbox drop column tenant`,
		// A mapped column goes to the end: the order of the columns is another.
		`alter table cdc_relay.outbox add column later json;
		 update cdc_relay.outbox set later = payload;
		 alter table cdc_relay.outbox drop column payload;
		 alter table cdc_relay.outbox rename column later to payload`,
		`alter table cdc_relay.outbox alter column message_key type varchar(200)`,
		`alter table cdc_relay.outbox rename column region to payload_region`,
		// Under another name for a moment; for good it would be refused.
		`alter table cdc_relay.outbox rename to outbox_moment;
		 insert into cdc_relay.outbox_moment select * from cdc_relay.outbox_moment where false;
		 alter table cdc_relay.outbox_moment rename to outbox`,
	}
	tell, writing := n.keepWriting()
	reader := n.reader(n.topic)
	for _, sql := range changes {
		// Each change has events before and after it in the stream.
		n.check(pgx.BeginFunc(n.ctx(time.Minute), n.db, func(tx pgx.Tx) error {
			_, err := tx.Exec(n.Context(), sql)
			return err
		}))
		var before int
		n.check(n.db.QueryRow(n.Context(), `select count(*) from cdc_relay.outbox`).Scan(&before))
		n.check(reader.Read(n.ctx(time.Minute), func(got int) bool { return got > before+5 }))
	}
	tell()
	writing.Wait()

	tx := n.begin()
	a := tx.event()
	tx.exec(`alter table cdc_relay.outbox add column halfway text default 'x'`)
	b := tx.event()
	tx.exec(`savepoint one; alter table cdc_relay.outbox add column never text default 'y'`)
	tx.event()
	tx.exec(`rollback to one`)
	c := tx.event()
	tx.commit()
	n.committed(a, b, c)
	n.arrived(reader)

	relations, err := r.Metric(n.ctx(time.Minute), "cdc_relay_replication_relation_changes_total")
	n.check(err)
	restarts, err := r.Metric(n.ctx(time.Minute), "cdc_relay_restarts_total")
	n.check(err)
	// All but the last of the list change the shape, and the column added halfway.
	if relations < float64(len(changes)) || restarts != 0 {
		t.Errorf("%v changes of the shape were seen, want at least %d; %v restarts, want none", relations, len(changes), restarts)
	}
	n.finished(r)
}

// keepWriting commits events one after the other until told to end.
func (n *lane) keepWriting() (tell func(), done *sync.WaitGroup) {
	n.Helper()
	ctx, cancel := context.WithCancel(n.Context())
	n.Cleanup(cancel)
	done = &sync.WaitGroup{}
	done.Go(func() {
		for ctx.Err() == nil {
			e := n.next()
			err := pgx.BeginFunc(n.Context(), n.db, func(tx pgx.Tx) error { return outbox.Publish(n.Context(), tx, e.Outbox()) })
			if err != nil {
				n.Errorf("write: %v", err)
				return
			}
			n.committed(e)
		}
	})
	return cancel, done
}
