package main

import (
	"context"
	"encoding/binary"
	"fmt"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"

	"github.com/cdc-relay/cdc-relay/internal/event"
	"github.com/cdc-relay/cdc-relay/migrations"
	"github.com/cdc-relay/cdc-relay/test/rig"
)

// keys is the number of different keys; an event's key is its number modulo it.
const keys = 1000

// eventType is the only type: about 1 KB of JSON, with nested records, arrays,
// doubles, enums, patterns and bounds to check.
var eventType = rig.Types[2]

// eventID is the id of event number n. It carries the number, so that a record
// can be told without a table, and is otherwise no easier to compress than a
// random one.
func eventID(n int) uuid.UUID {
	var id uuid.UUID
	x := uint64(n) + 0x9e3779b97f4a7c15
	for i := 0; i < 12; i += 4 { // splitmix64
		x += 0x9e3779b97f4a7c15
		z := (x ^ x>>30) * 0xbf58476d1ce4e5b9
		z = (z ^ z>>27) * 0x94d049bb133111eb
		binary.BigEndian.PutUint32(id[i:], uint32(z>>16))
	}
	binary.BigEndian.PutUint32(id[12:], uint32(n))
	return id
}

func eventNumber(id uuid.UUID) int { return int(binary.BigEndian.Uint32(id[12:])) }

func makeEvent(n int) rig.Event {
	return rig.Event{ID: eventID(n).String(), Type: eventType, Key: fmt.Sprintf("job-%04d", n%keys), Seq: n/keys + 1, Tx: n, Of: 1}
}

// source is a database whose log holds the events of one drain.
type source struct {
	name string
	url  string
	end  event.LSN // after the last commit
	conn *pgx.Conn
}

// baseSlot stands before the first event. Nobody reads it: contenders read
// copies.
const baseSlot = "bench_base"

// publication is as the relay makes it.
const publicationSQL = `create publication cdc_relay for table cdc_relay.outbox with (publish = 'insert', publish_via_partition_root = true)`

const loadSQL = `
create unlogged table bench_rows (n int primary key, id uuid not null, aggregate_id text not null, payload json not null);
create procedure bench_load(total int, per int) language plpgsql as $$
begin
  for i in 0 .. total / per - 1 loop
    insert into cdc_relay.outbox (id, aggregate_type, aggregate_id, event_type, payload)
      select id, 'essay', aggregate_id, '%s', payload from bench_rows where n >= i * per and n < (i + 1) * per order by n;
    commit;
  end loop;
end $$`

// database creates an empty one with the outbox in it.
func (b *bench) database(ctx context.Context, name string) (*source, error) {
	pg := b.stack.Postgres()
	admin, err := pgx.Connect(ctx, pg.URL("postgres"))
	if err != nil {
		return nil, err
	}
	defer admin.Close(ctx) // nothing is lost with it
	if _, err := admin.Exec(ctx, "create database "+name); err != nil {
		return nil, err
	}
	s := &source{name: name, url: pg.URL(name)}
	if _, err := migrations.Up(ctx, s.url); err != nil {
		return nil, err
	}
	s.conn, err = pgx.Connect(ctx, s.url)
	return s, err
}

// prepare fills a database's log with the events, per in one transaction.
func (b *bench) prepare(ctx context.Context, per int) (*source, error) {
	began := time.Now()
	s, err := b.database(ctx, fmt.Sprintf("bench_%d", per))
	if err != nil {
		return nil, err
	}
	for _, sql := range []string{fmt.Sprintf(loadSQL, eventType), publicationSQL, "set synchronous_commit = off"} {
		if _, err := s.conn.Exec(ctx, sql); err != nil {
			return nil, err
		}
	}
	bytes := 0
	n := -1
	_, err = s.conn.CopyFrom(ctx, pgx.Identifier{"bench_rows"}, []string{"n", "id", "aggregate_id", "payload"},
		pgx.CopyFromFunc(func() ([]any, error) {
			if n++; n == b.events {
				return nil, nil
			}
			e := makeEvent(n)
			text := e.Payload()
			bytes += len(text)
			return []any{n, eventID(n), e.Key, text}, nil
		}))
	if err != nil {
		return nil, fmt.Errorf("make the rows: %w", err)
	}
	if _, err := s.conn.Exec(ctx, "select pg_create_logical_replication_slot($1, 'pgoutput')", baseSlot); err != nil {
		return nil, err
	}
	if _, err := s.conn.Exec(ctx, fmt.Sprintf("call bench_load(%d, %d)", b.events, per)); err != nil {
		return nil, fmt.Errorf("write the events: %w", err)
	}
	// A commit that is waited for flushes those before it, which were not; a
	// walsender sends nothing else.
	if _, err := s.conn.Exec(ctx, "set synchronous_commit = on"); err != nil {
		return nil, err
	}
	if _, err := s.conn.Exec(ctx, "create table bench_flushed ()"); err != nil {
		return nil, err
	}
	var end string
	if err := s.conn.QueryRow(ctx, "select pg_current_wal_flush_lsn()::text").Scan(&end); err != nil {
		return nil, err
	}
	if s.end, err = event.ParseLSN(end); err != nil {
		return nil, err
	}
	b.out["rows.payload_bytes"] = bytes / b.events
	fmt.Printf("\ntxn%d: %d events of %d bytes of JSON in transactions of %d; %d s to prepare\n", per, b.events, bytes/b.events, per, int(time.Since(began).Seconds()))
	return s, nil
}

// copySlot gives a contender its slot, at the base position.
func (s *source) copySlot(ctx context.Context, name string) error {
	_, err := s.conn.Exec(ctx, "select pg_copy_logical_replication_slot($1, $2)", baseSlot, name)
	return err
}

func (s *source) dropSlot(ctx context.Context, name string) error {
	_, err := s.conn.Exec(ctx, "select pg_drop_replication_slot($1)", name)
	return err
}

// close drops the database with its slots, so that the log can go.
func (b *bench) close(ctx context.Context, s *source) error {
	if err := s.conn.Close(ctx); err != nil {
		return err
	}
	return b.stack.Postgres().DropDatabase(ctx, s.name)
}
