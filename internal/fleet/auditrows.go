package fleet

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/cdc-relay/cdc-relay/internal/audit"
	"github.com/cdc-relay/cdc-relay/internal/event"
	"github.com/cdc-relay/cdc-relay/internal/kafka"
	"github.com/cdc-relay/cdc-relay/internal/replication"
	"github.com/cdc-relay/cdc-relay/internal/transform"
)

// timeColumns are the columns that may say when a row was written.
func (a *auditor) timeColumns() []string {
	if a.req.TimeColumn != "" {
		return []string{a.req.TimeColumn}
	}
	names := []string{"created_at"}
	for _, s := range a.cfg.Mapping.OccurredAt {
		if !strings.ContainsAny(s, ".[\":") {
			names = append(names, s)
		}
	}
	return append(names, "occurred_at")
}

// timed refuses a range where the table has no time.
func (a *auditor) timed() error {
	if len(a.snap.Rel.Columns) == 0 {
		return event.Refusef("cdc-relay doctor", "table %s has no columns the role may see", a.cfg.Table)
	}
	if a.snap.TimeColumn != "" {
		return nil
	}
	if a.req.TimeColumn != "" {
		return &UsageError{fmt.Sprintf("table %s has no column %q (--time-column)", a.cfg.Table, a.req.TimeColumn)}
	}
	if !a.req.Since.IsZero() || !a.req.Until.IsZero() {
		return &UsageError{fmt.Sprintf("table %s has no column created_at or occurred_at: name the one that holds the time with --time-column, or leave --since and --until out", a.cfg.Table)}
	}
	return nil
}

func (a *auditor) rowsExpected() int64 {
	if a.req.Since.IsZero() && a.req.Until.IsZero() {
		return a.snap.Rows
	}
	return 0 // the planner's number is of the whole table
}

// newTransformer makes the one that says what the relay would have produced. No
// value of it is ever written, so any schema id will do, and the registry is not
// asked.
func (a *auditor) newTransformer() error {
	known := schemaIDs{}
	wants, err := a.wants()
	if err != nil {
		return err
	}
	for _, w := range wants {
		known.add(w, 1)
	}
	o := a.compile(known, a.system, "")
	o.Logger = nil // key rules that fell through were warned about by the relay
	a.tr, err = transform.Compile(o)
	return err
}

// readRows turns every row into the records the relay makes of it.
func (a *auditor) readRows(ctx context.Context) error {
	total, n := a.rowsExpected(), int64(0)
	return a.snap.Read(ctx, a.req.Since, a.req.Until, func(r *replication.TableRow) error {
		if n++; n%4096 == 0 {
			if err := ctx.Err(); err != nil {
				return err
			}
			a.req.Progress("rows read", n, total)
		}
		a.report.TableRows++
		records, err := a.records(r)
		if err != nil {
			return a.unencodable(r, err)
		}
		for i := range records {
			if err := a.addRow(r, &records[i]); err != nil {
				return err
			}
		}
		return nil
	})
}

// records are those the relay makes of a row. They live until the next call.
func (a *auditor) records(r *replication.TableRow) ([]event.Record, error) {
	if a.batch.Bytes > event.ChunkBytes {
		a.batch.Reset()
	}
	a.batch.Records = a.batch.Records[:0]
	a.msg = event.Msg{Kind: event.Row, Rel: a.snap.Rel, XID: r.XID, Time: r.At, Cols: r.Columns}
	if r.Commit != 0 {
		a.msg.Time = r.Commit
	}
	if err := a.tr.Append(a.batch, &a.msg); err != nil {
		return nil, err
	}
	return a.batch.Records, nil
}

// unencodable notes a row the relay would have stopped at.
func (a *auditor) unencodable(r *replication.TableRow, err error) error {
	fault, ok := errors.AsType[*event.Fault](err)
	if !ok || fault.Verdict != event.Stop {
		return err
	}
	a.report.Unencodable++
	detail := -1
	if a.report.Unencodable <= int64(a.req.Limit) {
		detail = len(a.report.Details)
	}
	a.remember(detail)
	if detail < 0 {
		return nil
	}
	why := strings.ReplaceAll(fault.What, " at LSN "+event.Position{}.String(), "") // not known here
	if fault.Err != nil {
		why += ": " + fault.Err.Error()
	}
	a.report.Details = append(a.report.Details, audit.Detail{
		Kind: audit.Unencodable, RowID: a.rowID(r), Created: audit.Time(r.At), XID: r.XID, Why: why,
	})
	return nil
}

// rowID is the first of the row's columns that the mapping names as its id, and
// that has a value; else its place in the table.
func (a *auditor) rowID(r *replication.TableRow) string {
	names := a.cfg.Mapping.ID
	if names == nil {
		names = []string{"id"}
	}
	for _, name := range names {
		for i, c := range a.snap.Rel.Columns {
			if c.Name == name && r.Columns[i] != nil {
				return string(r.Columns[i])
			}
		}
	}
	return fmt.Sprintf("ctid (%d,%d)", r.Block, r.Tuple)
}

// identity is the header a consumer tells events apart by: event_id, or the id
// of the debezium preset.
func identity(header func(string) ([]byte, bool)) []byte {
	if v, ok := header("event_id"); ok && len(v) > 0 {
		return v
	}
	v, _ := header("id")
	return v
}

// headersOf looks headers of a record up by name.
func headersOf(r *event.Record) func(string) ([]byte, bool) {
	return func(name string) ([]byte, bool) {
		for i := range r.Headers {
			if r.Headers[i].Key == name {
				return r.Headers[i].Value, true
			}
		}
		return nil, false
	}
}

func (a *auditor) addRow(r *replication.TableRow, rec *event.Record) error {
	id := identity(headersOf(rec))
	if len(id) == 0 {
		a.report.Unidentified++
		return nil
	}
	topic, ok := a.numbers[rec.Topic]
	if !ok {
		var err error
		if topic, err = a.cmp.Topic(*rec.Topic); err != nil {
			return err
		}
		if len(a.numbers) > 1<<16 {
			clear(a.numbers)
		}
		a.numbers[rec.Topic] = topic
	}
	row := audit.Row{
		Key: audit.KeyOf(rec.Key), Created: r.At, XID: r.XID, Topic: topic,
		Place: audit.Place{Part: r.Part, Block: r.Block, Tuple: r.Tuple},
	}
	if row.ID, row.Hashed = audit.IDOf(id); rec.Key != nil {
		row.KeyHash = kafka.KeyHash(rec.Key)
	}
	return a.cmp.AddRow(&row)
}
