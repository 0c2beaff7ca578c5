package matrix

import (
	"context"
	"fmt"

	"github.com/jackc/pglogrepl"
	"github.com/jackc/pgx/v5"

	"github.com/cdc-relay/cdc-relay/internal/event"
)

// truthSlot is a slot of the checker's own, made before anything is written, and
// truth is its publication: what was committed, and in which order, is read from
// the server's log and not from what the writers believe.
const truthSlot = "truth_"

func (l *lab) makeTruth() error {
	return l.sql("create publication truth for table cdc_relay.outbox with (publish = 'insert')",
		fmt.Sprintf("select pg_create_logical_replication_slot('%s%s', 'pgoutput')", truthSlot, l.database))
}

// truth reads every row that was committed since makeTruth.
func (l *lab) truth() ([]Row, error) {
	conn, err := pgx.Connect(l.ctx, l.url)
	if err != nil {
		return nil, err
	}
	defer conn.Close(context.WithoutCancel(l.ctx)) // nothing is lost with it
	changes, err := conn.Query(l.ctx, "select data from pg_logical_slot_peek_binary_changes($1, null, null, 'proto_version', '1', 'publication_names', 'truth')", truthSlot+l.database)
	if err != nil {
		return nil, err
	}
	d := decoder{}
	for changes.Next() {
		var data []byte
		if err := changes.Scan(&data); err != nil {
			return nil, err
		}
		if err := d.take(data); err != nil {
			return nil, err
		}
	}
	return d.rows, changes.Err()
}

// decoder is the peer of internal/replication's, by pglogrepl.Parse.
type decoder struct {
	rows  []Row
	begin event.LSN
	from  int // index of the transaction's first row
	id    map[uint32]int
}

func (d *decoder) take(data []byte) error {
	m, err := pglogrepl.Parse(data)
	if err != nil {
		return fmt.Errorf("decode the truth: %w", err)
	}
	switch m := m.(type) {
	case *pglogrepl.RelationMessage:
		if d.id == nil {
			d.id = map[uint32]int{}
		}
		for i, c := range m.Columns {
			if c.Name == "id" {
				d.id[m.RelationID] = i
			}
		}
	case *pglogrepl.BeginMessage:
		d.begin, d.from = event.LSN(m.FinalLSN), len(d.rows)
	case *pglogrepl.InsertMessage:
		id := m.Tuple.Columns[d.id[m.RelationID]].Data
		d.rows = append(d.rows, Row{ID: string(id), Commit: d.begin, Ord: len(d.rows) - d.from + 1})
	case *pglogrepl.CommitMessage:
		for i := d.from; i < len(d.rows); i++ {
			d.rows[i].End, d.rows[i].Of = event.LSN(m.TransactionEndLSN), len(d.rows)-d.from
		}
	}
	return nil
}
