package replication

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/jackc/pgx/v5/pgconn"

	"github.com/cdc-relay/cdc-relay/internal/event"
)

// Snapshot shows the rows of one table as they were at one moment, in the text
// the stream would have sent them in. It reads and locks nothing; while it is
// open Postgres keeps the dead rows of that moment. It belongs to one goroutine.
type Snapshot struct {
	Rel        *event.Relation
	Taken      time.Time // by the server's clock
	InRecovery bool
	Tracked    bool   // track_commit_timestamp is on
	Rows       int64  // the planner's estimate, 0: none
	TimeColumn string // what ranges are cut by; "": the table has none

	opts   Options
	pc     *pgconn.PgConn
	table  string
	parts  map[string]uint16
	oids   []string // by part
	insert event.LSN
	delay  time.Duration // of the WAL writer
}

// TableRow is one row. Its columns are dead at the next.
type TableRow struct {
	Part    uint16 // which partition of the table, for Fetch
	Block   uint32
	Tuple   uint16
	XID     uint32 // that wrote this version of the row
	At      int64  // of the time column, microseconds since the Unix epoch; 0: none
	Commit  int64  // commit time, if it is tracked and asked for; 0: not known
	Columns [][]byte
}

// OpenSnapshot connects and takes a snapshot of the first of the source's
// tables. Ranges are cut by the first of timeColumns that the table has.
func OpenSnapshot(ctx context.Context, o Options, timeColumns ...string) (*Snapshot, error) {
	if len(o.Tables) == 0 {
		return nil, errors.New("snapshot: no table")
	}
	pc, err := o.dial(ctx, forChange)
	if err != nil {
		return nil, o.wrap(phaseConnect, err)
	}
	s := &Snapshot{opts: o, pc: pc, table: quoteTable(o.Tables[0]), parts: map[string]uint16{}}
	if err := s.begin(ctx); err != nil {
		s.Close(ctx)
		return nil, o.wrap(phaseRead, err)
	}
	for _, name := range timeColumns {
		if slices.ContainsFunc(s.Rel.Columns, func(c event.Column) bool { return c.Name == name }) {
			s.TimeColumn = name
			break
		}
	}
	return s, nil
}

// at is the expression of a row's time, in microseconds.
func (s *Snapshot) at() string {
	if s.TimeColumn == "" {
		return "null::int8"
	}
	return "(extract(epoch from t." + quoteIdent(s.TimeColumn) + "::timestamptz) * 1000000)::int8"
}

// Close ends the snapshot.
func (s *Snapshot) Close(ctx context.Context) { _ = closeBounded(ctx, s.pc) } // nothing was changed

// takeSQL takes the snapshot by being the transaction's first statement. The
// end of the log is asked for by the same statement, hence after it: whatever
// the snapshot shows was committed before that end.
const takeSQL = `select pg_is_in_recovery()::text, (extract(epoch from clock_timestamp()) * 1000000)::int8::text,
  current_setting('track_commit_timestamp'), (select setting from pg_settings where name = 'wal_writer_delay'),
  (case when pg_is_in_recovery() then pg_last_wal_replay_lsn() else pg_current_wal_insert_lsn() end)::text,
  (select greatest(0, (select c.reltuples from pg_class c where c.oid = $1::regclass), (select sum(greatest(c.reltuples, 0))
    from pg_class c join pg_inherits i on i.inhrelid = c.oid where i.inhparent = $1::regclass))::int8::text)`

const columnsSQL = `select a.attname, a.atttypid::text, (c.relreplident = 'f' or coalesce(a.attnum = any(i.indkey), false))::text,
    c.oid::text, n.nspname, c.relname
  from pg_class c join pg_namespace n on n.oid = c.relnamespace
  join pg_attribute a on a.attrelid = c.oid and a.attnum > 0 and not a.attisdropped and a.attgenerated = ''
  left join pg_index i on i.indrelid = c.oid and (c.relreplident = 'd' and i.indisprimary or c.relreplident = 'i' and i.indisreplident)
  where c.oid = $1::regclass order by a.attnum`

func (s *Snapshot) begin(ctx context.Context) error {
	// The snapshot waits while Kafka is read.
	const patient = "select set_config(name, '0', false) from pg_settings where name in ('idle_in_transaction_session_timeout', 'transaction_timeout')"
	for _, sql := range []string{patient, "begin isolation level repeatable read, read only"} {
		if _, err := s.pc.Exec(ctx, sql).ReadAll(); err != nil {
			return err
		}
	}
	row, err := queryRow(ctx, s.pc, takeSQL, s.table)
	if err != nil {
		return err
	}
	micros, err := strconv.ParseInt(string(row[1]), 10, 64)
	if err != nil {
		return fmt.Errorf("the server's clock: %w", err)
	}
	delay, err := strconv.Atoi(string(row[3]))
	if err != nil {
		return fmt.Errorf("wal_writer_delay: %w", err)
	}
	if s.Rows, err = strconv.ParseInt(string(row[5]), 10, 64); err != nil {
		return fmt.Errorf("the table's estimate: %w", err)
	}
	s.InRecovery, s.Taken, s.Tracked, s.delay = string(row[0]) == "true", time.UnixMicro(micros).UTC(), string(row[2]) == "on", time.Duration(delay)*time.Millisecond
	if s.insert, err = event.ParseLSN(string(row[4])); err != nil {
		return err
	}
	return s.relation(ctx)
}

// relation describes the table as the stream announces it.
func (s *Snapshot) relation(ctx context.Context) error {
	res := s.pc.ExecParams(ctx, columnsSQL, [][]byte{[]byte(s.table)}, nil, nil, nil).Read()
	if res.Err != nil {
		return res.Err
	}
	s.Rel = &event.Relation{}
	for _, row := range res.Rows {
		oid, err := strconv.ParseUint(string(row[1]), 10, 32)
		if err != nil {
			return fmt.Errorf("type of column %s: %w", row[0], err)
		}
		own, err := strconv.ParseUint(string(row[3]), 10, 32)
		if err != nil {
			return fmt.Errorf("oid of %s: %w", s.table, err)
		}
		s.Rel.OID, s.Rel.Schema, s.Rel.Table = uint32(own), string(row[4]), string(row[5])
		s.Rel.Columns = append(s.Rel.Columns, event.Column{Name: string(row[0]), Type: uint32(oid), Key: string(row[2]) == "true"})
	}
	return nil
}

// End is a position every transaction the snapshot shows ends at or before. It
// is the end of what is on disk, because a relay cannot get beyond that. The
// commit of an asynchronous transaction is shown before it is on disk; the WAL
// writer gets to it within three times wal_writer_delay, which is waited for.
func (s *Snapshot) End(ctx context.Context) (event.LSN, error) {
	if s.InRecovery {
		return s.insert, nil
	}
	deadline := time.Now().Add(3*s.delay + 100*time.Millisecond)
	for {
		row, err := queryRow(ctx, s.pc, "select pg_current_wal_flush_lsn()::text")
		if err != nil {
			return 0, s.opts.wrap(phaseRead, err)
		}
		at, err := event.ParseLSN(string(row[0]))
		if err != nil {
			return 0, err
		}
		if at >= s.insert {
			return s.insert, nil
		}
		if time.Now().After(deadline) {
			return at, nil
		}
		t := time.NewTimer(20 * time.Millisecond)
		select {
		case <-ctx.Done():
			t.Stop()
			return 0, ctx.Err()
		case <-t.C:
		}
	}
}

// Passed is the oldest transaction id the slot may still have to decode: every
// transaction before it ended before the position the slot's reader confirmed.
// False: there is a slot, and it does not say; or nobody can ask (a standby).
// Without a slot nothing is under way: every transaction was passed.
func (s *Snapshot) Passed(ctx context.Context) (oldest uint32, known bool, err error) {
	if s.InRecovery {
		return 0, false, nil
	}
	row, err := queryRow(ctx, s.pc, `select count(*)::text, max(catalog_xmin::text::int8)::text,
		(pg_snapshot_xmax(pg_current_snapshot())::text::numeric % 4294967296)::text
		from pg_replication_slots where slot_name = $1 and coalesce(wal_status, '') <> 'lost'`, s.opts.Slot)
	if err != nil {
		return 0, false, s.opts.wrap(phaseRead, err)
	}
	text := row[1]
	if string(row[0]) == "0" {
		text = row[2]
	}
	if text == nil {
		return 0, false, nil
	}
	n, err := strconv.ParseUint(string(text), 10, 32)
	return uint32(n), err == nil, err
}

func (s *Snapshot) names() string {
	var b strings.Builder
	for _, c := range s.Rel.Columns {
		b.WriteString(", t." + quoteIdent(c.Name))
	}
	return b.String()
}

// Read gives every row with since <= time < until to f; a zero time is open. A
// row without a time is inside no closed range.
func (s *Snapshot) Read(ctx context.Context, since, until time.Time, f func(*TableRow) error) error {
	sql := "select t.tableoid::text, t.ctid::text, t.xmin::text, " + s.at() + ", null" + s.names() + " from " + s.table + " t where true"
	var args [][]byte
	for _, c := range []struct {
		op string
		at time.Time
	}{{">=", since}, {"<", until}} {
		if c.at.IsZero() {
			continue
		}
		if s.TimeColumn == "" {
			return errors.New("snapshot: a range needs a time column")
		}
		args = append(args, []byte(c.at.UTC().Format("2006-01-02 15:04:05.999999Z07:00")))
		sql += fmt.Sprintf(" and t.%s %s $%d::timestamptz", quoteIdent(s.TimeColumn), c.op, len(args))
	}
	return s.each(ctx, sql, args, f)
}

// Fetch gives the rows at some places to f, in the order of the places.
// Duplicate places come as often as they are named.
func (s *Snapshot) Fetch(ctx context.Context, places []TableRow, f func(*TableRow) error) error {
	if len(places) == 0 {
		return nil
	}
	var oids, tids strings.Builder
	for i, p := range places {
		if int(p.Part) >= len(s.oids) {
			return fmt.Errorf("snapshot: row (%d,%d) is of no known part of the table", p.Block, p.Tuple)
		}
		if i > 0 {
			oids.WriteByte(',')
			tids.WriteByte(',')
		}
		oids.WriteString(s.oids[p.Part])
		fmt.Fprintf(&tids, `"(%d,%d)"`, p.Block, p.Tuple)
	}
	commit := "null::int8"
	if s.Tracked {
		commit = "(extract(epoch from pg_xact_commit_timestamp(t.xmin)) * 1000000)::int8"
	}
	// By place and by nothing else: a scan of the table for a few rows would
	// take minutes.
	const plan = "set local enable_hashjoin = off; set local enable_mergejoin = off; set local enable_seqscan = off"
	if _, err := s.pc.Exec(ctx, plan).ReadAll(); err != nil {
		return s.opts.wrap(phaseRead, err)
	}
	sql := "select t.tableoid::text, t.ctid::text, t.xmin::text, " + s.at() + ", " + commit + s.names() +
		" from unnest($1::oid[], $2::tid[]) with ordinality as w(part, place, n) join " + s.table + " t on t.ctid = w.place and t.tableoid = w.part order by w.n"
	n := 0
	err := s.each(ctx, sql, [][]byte{[]byte("{" + oids.String() + "}"), []byte("{" + tids.String() + "}")}, func(r *TableRow) error {
		n++
		return f(r)
	})
	if err == nil && n != len(places) {
		err = fmt.Errorf("%d of %d rows were found again in the snapshot", n, len(places))
	}
	return err
}

// head is how many columns of a query come before those of the table.
const head = 5

func (s *Snapshot) each(ctx context.Context, sql string, args [][]byte, f func(*TableRow) error) error {
	res := s.pc.ExecParams(ctx, sql, args, nil, nil, nil)
	var row TableRow
	for res.NextRow() {
		err := s.row(&row, res.Values())
		if err == nil {
			err = f(&row)
		}
		if err != nil {
			return err // the connection is of no use any more; Close cuts it
		}
	}
	if _, err := res.Close(); err != nil {
		return s.opts.wrap(phaseRead, fmt.Errorf("read the rows of %s: %w", s.table, err))
	}
	return nil
}

func (s *Snapshot) row(r *TableRow, v [][]byte) error {
	part, ok := s.parts[string(v[0])]
	if !ok {
		if len(s.oids) > 1<<16-1 {
			return fmt.Errorf("%s has more than 65536 partitions", s.table)
		}
		part = uint16(len(s.oids))
		s.oids = append(s.oids, string(v[0]))
		s.parts[s.oids[part]] = part
	}
	place, xid := v[1], number{rest: v[2]}
	if len(place) < 2 {
		return fmt.Errorf("row at %q: not a place in a table", place)
	}
	n := number{rest: place[1 : len(place)-1]} // without the parentheses
	*r = TableRow{Part: part, Block: uint32(n.next(',')), Tuple: uint16(n.next(0)), XID: uint32(xid.next(0)), Columns: v[head:]}
	at, commit := number{rest: v[3]}, number{rest: v[4]}
	if v[3] != nil {
		r.At = at.next(0)
	}
	if v[4] != nil {
		r.Commit = commit.next(0)
	}
	if n.bad || xid.bad || at.bad || commit.bad {
		return fmt.Errorf("row at %s, written by transaction %s at %s, committed at %s: want numbers", place, v[2], v[3], v[4])
	}
	return nil
}

// number reads decimal numbers out of text.
type number struct {
	rest []byte
	bad  bool
}

// next reads a number up to a separator; 0: up to the end.
func (n *number) next(sep byte) int64 {
	i, minus, v := 0, false, int64(0)
	if len(n.rest) > 0 && n.rest[0] == '-' {
		i, minus = 1, true
	}
	digits := 0
	for ; i < len(n.rest) && n.rest[i] >= '0' && n.rest[i] <= '9' && digits < 18; i++ {
		v = v*10 + int64(n.rest[i]-'0')
		digits++
	}
	more := i < len(n.rest)
	if digits == 0 || more != (sep != 0) || more && n.rest[i] != sep {
		n.bad = true
		return 0
	}
	if n.rest = n.rest[i:]; more {
		n.rest = n.rest[1:]
	}
	if minus {
		v = -v
	}
	return v
}

// CommitTimes gives the commit time of each transaction to set, in microseconds
// since the Unix epoch; one Postgres does not know any more is not given. It
// needs Tracked.
func (s *Snapshot) CommitTimes(ctx context.Context, n int, xid func(i int) uint32, set func(i int, at int64)) error {
	const piece = 10_000
	for from := 0; from < n; from += piece {
		var xids strings.Builder
		for i := from; i < min(from+piece, n); i++ {
			if i > from {
				xids.WriteByte(',')
			}
			xids.WriteString(strconv.FormatUint(uint64(xid(i)), 10))
		}
		res := s.pc.ExecParams(ctx, `select w.n::text, (extract(epoch from pg_xact_commit_timestamp(w.x)) * 1000000)::int8::text
			from unnest($1::xid[]) with ordinality as w(x, n)`, [][]byte{[]byte("{" + xids.String() + "}")}, nil, nil, nil)
		for res.NextRow() {
			v := res.Values()
			i, at := number{rest: v[0]}, number{rest: v[1]}
			if v[1] == nil {
				continue
			}
			if set(from+int(i.next(0))-1, at.next(0)); i.bad || at.bad {
				return fmt.Errorf("commit time %s of transaction %s: want numbers", v[1], v[0])
			}
		}
		if _, err := res.Close(); err != nil {
			return s.opts.wrap(phaseRead, fmt.Errorf("ask for commit times: %w", err))
		}
	}
	return nil
}
