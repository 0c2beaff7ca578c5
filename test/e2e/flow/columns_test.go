package flow

import (
	"context"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/cdc-relay/cdc-relay/outbox"
	"github.com/cdc-relay/cdc-relay/test/e2e/lab"
)

// The table changes its shape while events flow: the stream goes on, and not one
// event is read with the shape of another moment.
func TestColumnsChangeInMidStream(t *testing.T) {
	n := lab.NewLane(t)
	r := n.Start()
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
	tell, writing := keepWriting(n)
	reader := n.Reader(n.Topic)
	for _, sql := range changes {
		// Each change has events before and after it in the stream.
		n.Check(pgx.BeginFunc(n.Ctx(time.Minute), n.DB, func(tx pgx.Tx) error {
			_, err := tx.Exec(n.Context(), sql)
			return err
		}))
		var before int
		n.Check(n.DB.QueryRow(n.Context(), `select count(*) from cdc_relay.outbox`).Scan(&before))
		n.Check(reader.Read(n.Ctx(time.Minute), func(got int) bool { return got > before+5 }))
	}
	tell()
	writing.Wait()

	tx := n.Begin()
	a := tx.Event()
	tx.Exec(`alter table cdc_relay.outbox add column halfway text default 'x'`)
	b := tx.Event()
	tx.Exec(`savepoint one; alter table cdc_relay.outbox add column never text default 'y'`)
	tx.Event()
	tx.Exec(`rollback to one`)
	c := tx.Event()
	tx.Commit()
	n.Committed(a, b, c)
	n.Arrived(reader)

	relations, err := r.Metric(n.Ctx(time.Minute), "cdc_relay_replication_relation_changes_total")
	n.Check(err)
	restarts, err := r.Metric(n.Ctx(time.Minute), "cdc_relay_restarts_total")
	n.Check(err)
	// All but the last of the list change the shape, and the column added halfway.
	if relations < float64(len(changes)) || restarts != 0 {
		t.Errorf("%v changes of the shape were seen, want at least %d; %v restarts, want none", relations, len(changes), restarts)
	}
	n.Finished(r)
}

// keepWriting commits events one after the other until told to end.
func keepWriting(n *lab.Lane) (tell func(), done *sync.WaitGroup) {
	n.Helper()
	ctx, cancel := context.WithCancel(n.Context())
	n.Cleanup(cancel)
	done = &sync.WaitGroup{}
	done.Go(func() {
		for ctx.Err() == nil {
			e := n.Next()
			err := pgx.BeginFunc(n.Context(), n.DB, func(tx pgx.Tx) error { return outbox.Publish(n.Context(), tx, e.Outbox()) })
			if err != nil {
				n.Errorf("write: %v", err)
				return
			}
			n.Committed(e)
		}
	})
	return cancel, done
}
