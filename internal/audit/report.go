package audit

import (
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/cdc-relay/cdc-relay/internal/event"
)

// Report is what an audit says, for people and (as JSON) for scripts.
type Report struct {
	Pipeline string `json:"pipeline"`
	Table    string `json:"table"`
	Since    string `json:"since,omitempty"` // RFC 3339; "" from the first row on
	Until    string `json:"until,omitempty"` // "" to the snapshot
	Sound    bool   `json:"sound"`           // nothing missing, doubled, out of order or unencodable

	TableRows       int64 `json:"table_rows"`
	ExpectedRecords int64 `json:"expected_records"` // rows times the forms of their events
	KafkaRecords    int64 `json:"kafka_records"`    // committed, from since on
	Missing         int64 `json:"missing"`
	Duplicate       int64 `json:"duplicate"` // records too many
	OutOfOrder      int64 `json:"out_of_order"`
	Unencodable     int64 `json:"unencodable"`
	DeadLettered    int64 `json:"dead_lettered"` // wait in the dead letter topic
	Discarded       int64 `json:"discarded"`     // were given up there
	NotRelayedYet   int64 `json:"not_relayed_yet"`
	Removed         int64 `json:"removed"` // not judged: retention or compaction of the topic may have deleted them
	Unknown         int64 `json:"unknown"`
	Replayed        int64 `json:"replayed"`
	Repaired        int64 `json:"repaired"`
	Redriven        int64 `json:"redriven"`
	Unidentified    int64 `json:"unidentified"` // rows and records without an event id: not compared

	SnapshotTime     string    `json:"snapshot_time"`
	SnapshotLSN      event.LSN `json:"snapshot_lsn"`
	SafeLSN          event.LSN `json:"safe_lsn"` // of the relay's checkpoint
	RelayBehind      bool      `json:"relay_behind"`
	CommitTimestamps bool      `json:"commit_timestamps"` // track_commit_timestamp is on
	OrderTolerance   int64     `json:"order_tolerance_ms"`
	AbsentTopics     []string  `json:"absent_topics,omitempty"`
	Details          []Detail  `json:"details"`
	Seconds          float64   `json:"seconds"`
}

// Detail is one finding with all that is known of it.
type Detail struct {
	Kind    Kind   `json:"kind"`
	EventID string `json:"event_id,omitempty"`
	RowID   string `json:"row_id,omitempty"`
	Topic   string `json:"topic,omitempty"`
	Key     string `json:"key,omitempty"`
	Created string `json:"created_at,omitempty"`
	XID     uint32 `json:"xid,omitempty"`
	Commit  string `json:"commit_time,omitempty"` // where track_commit_timestamp is on
	LSN     string `json:"lsn,omitempty"`         // of the commit, where an anchor keeps it
	Why     string `json:"why,omitempty"`
	// Records are where it is in Kafka: the copies of a duplicate; of a
	// disorder the late record and the one before it.
	Records []Spot `json:"records,omitempty"`
}

// Spot is one record in Kafka.
type Spot struct {
	Partition int32  `json:"partition"`
	Offset    int64  `json:"offset"`
	Time      string `json:"time"` // of the record: its commit in Postgres, of one published again its production
	EventID   string `json:"event_id,omitempty"`
	Mark      string `json:"mark,omitempty"` // replay, repair, redrive
}

// Take fills in what Compare found, but the details.
func (r *Report) Take(res *Result) {
	r.ExpectedRecords, r.Replayed, r.Repaired, r.Redriven = res.Expected, res.Replayed, res.Repaired, res.Redriven
	for k, dst := range map[Kind]*int64{
		Missing: &r.Missing, Duplicate: &r.Duplicate, OutOfOrder: &r.OutOfOrder,
		NotRelayed: &r.NotRelayedYet, Removed: &r.Removed, Unknown: &r.Unknown,
	} {
		*dst = res.Counts[k]
	}
	// Rows no record can be made of may be there too, and were counted already.
	r.DeadLettered += res.Counts[DeadLettered]
	r.Discarded += res.Counts[Discarded]
	r.Sound = r.Missing+r.Duplicate+r.OutOfOrder+r.Unencodable == 0
}

// Spots are the records of a finding.
func Spots(recs []Record) []Spot {
	out := make([]Spot, len(recs))
	for i, r := range recs {
		out[i] = Spot{
			Partition: r.Partition, Offset: r.Offset, Time: time.UnixMilli(r.Time).UTC().Format("2006-01-02T15:04:05.000Z"),
			EventID: r.ID.Text(r.Hashed), Mark: [...]string{"", "replay", "repair", "redrive"}[r.Mark],
		}
	}
	return out
}

// Time prints microseconds since the Unix epoch; "" for 0.
func Time(us int64) string {
	if us == 0 {
		return ""
	}
	return time.UnixMicro(us).UTC().Format("2006-01-02T15:04:05.000000Z")
}

// Print writes the report for people: counts first, then the first findings of
// each kind.
func (r *Report) Print(w io.Writer) error {
	p := &printer{w: w}
	between := "all rows"
	if r.Since != "" || r.Until != "" {
		between = fmt.Sprintf("from %s to %s", or(r.Since, "the first row"), or(r.Until, "now"))
	}
	p.line("pipeline %s: table %s, %s, as of %s", r.Pipeline, r.Table, between, r.SnapshotTime)
	p.count(r.TableRows, "rows in the table, %d records expected", r.ExpectedRecords)
	p.count(r.KafkaRecords, "committed records in Kafka")
	p.count(r.Missing, "missing")
	p.count(r.Duplicate, "duplicate")
	p.count(r.OutOfOrder, "out of order (by commit time per key, beyond %s)", time.Duration(r.OrderTolerance)*time.Millisecond)
	p.some(r.Unencodable, "rows no record can be made of")
	p.some(r.DeadLettered, "in the dead letter topic (cdc-relay dlq list)")
	p.some(r.Discarded, "discarded from the dead letter topic")
	p.some(r.NotRelayedYet, "not relayed yet: the relay is at %s, the snapshot at %s", r.SafeLSN, r.SnapshotLSN)
	p.some(r.Removed, "not in Kafka any more, or never were: the topic's retention or compaction reaches beyond them")
	p.some(r.Replayed, "records of a replay")
	p.some(r.Repaired, "records of a repair")
	p.some(r.Redriven, "records of a redrive")
	p.some(r.Unknown, "records of no row: rows deleted since, other writers of the topic, logical messages")
	p.some(r.Unidentified, "rows and records without an event id, which cannot be compared")
	for _, t := range r.AbsentTopics {
		p.line("topic %s does not exist", t)
	}
	if r.RelayBehind && r.NotRelayedYet == 0 {
		p.line("the relay is at %s, the snapshot at %s: what is missing is missing all the same, its slot has passed it", r.SafeLSN, r.SnapshotLSN)
	}
	if r.Missing > 0 && !r.CommitTimestamps {
		p.line("track_commit_timestamp is off: when the missing rows were committed is not known (created_at is when their transaction began)")
	}
	r.details(p)
	verdict := "sound"
	switch {
	case !r.Sound:
		verdict = "NOT SOUND"
	case r.DeadLettered > 0:
		verdict = "sound but for what waits in the dead letter topic"
	case r.NotRelayedYet > 0:
		verdict = "sound as far as it was relayed"
	}
	p.line("%s (%.1f s)", verdict, r.Seconds)
	return p.err
}

func (r *Report) details(p *printer) {
	counts := map[Kind]int64{
		Missing: r.Missing, Duplicate: r.Duplicate, OutOfOrder: r.OutOfOrder, Unencodable: r.Unencodable,
		NotRelayed: r.NotRelayedYet, Removed: r.Removed, Unknown: r.Unknown, DeadLettered: r.DeadLettered, Discarded: r.Discarded,
	}
	for _, k := range Kinds() {
		var of []Detail
		for _, d := range r.Details {
			if d.Kind == k {
				of = append(of, d)
			}
		}
		if len(of) == 0 {
			continue
		}
		p.line("\n%s: the first %d of %d", k, len(of), counts[k])
		for i := range of {
			p.line("  %s", of[i].String())
			for n, s := range of[i].Records {
				before := ""
				if k == OutOfOrder && n == 1 {
					before = "behind "
				}
				p.line("    %s%s", before, s.String())
			}
		}
	}
	p.line("")
}

func (d *Detail) String() string {
	var b strings.Builder
	add := func(name, v string) {
		if v != "" {
			if b.Len() > 0 {
				b.WriteString("  ")
			}
			fmt.Fprintf(&b, "%s %s", name, v)
		}
	}
	add("event_id", d.EventID)
	if d.RowID != d.EventID {
		add("row", d.RowID)
	}
	add("topic", d.Topic)
	add("key", d.Key)
	add("created_at", d.Created)
	add("committed", d.Commit)
	add("lsn", d.LSN)
	if d.XID != 0 {
		add("xid", fmt.Sprint(d.XID))
	}
	add("because", d.Why)
	return b.String()
}

func (s *Spot) String() string {
	out := fmt.Sprintf("partition %d  offset %d  time %s", s.Partition, s.Offset, s.Time)
	if s.EventID != "" {
		out += "  event_id " + s.EventID
	}
	if s.Mark != "" {
		out += "  of a " + s.Mark
	}
	return out
}

func or(s, otherwise string) string {
	if s == "" {
		return otherwise
	}
	return s
}

// printer remembers the first error.
type printer struct {
	w   io.Writer
	err error
}

func (p *printer) line(format string, args ...any) {
	if p.err == nil {
		_, p.err = fmt.Fprintf(p.w, format+"\n", args...)
	}
}

func (p *printer) count(n int64, format string, args ...any) {
	p.line("%12d  %s", n, fmt.Sprintf(format, args...))
}

// some prints a count that is worth a line only when it is not zero.
func (p *printer) some(n int64, format string, args ...any) {
	if n > 0 {
		p.count(n, format, args...)
	}
}
