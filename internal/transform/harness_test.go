package transform

import (
	"bytes"
	"errors"
	"log/slog"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/cdc-relay/cdc-relay/internal/contract"
	"github.com/cdc-relay/cdc-relay/internal/event"
)

// table is a shape of a table; its columns are "name:type*" with the type json,
// bytea or nothing, and * for the primary key.
func table(name string, columns ...string) *event.Relation {
	schema, table, _ := strings.Cut(name, ".")
	r := &event.Relation{OID: 1, Schema: schema, Table: table}
	for _, c := range columns {
		c, key := strings.CutSuffix(c, "*")
		n, typ, _ := strings.Cut(c, ":")
		oid := map[string]uint32{"json": oidJSON, "jsonb": oidJSONB, "bytea": oidBytea, "": 25}[typ]
		r.Columns = append(r.Columns, event.Column{Name: n, Type: oid, Key: key})
	}
	return r
}

func nativeTable() *event.Relation {
	return table("cdc_relay.outbox", "id*", "aggregate_type", "aggregate_id", "event_type", "topic", "message_key",
		"headers:json", "payload:json", "occurred_at", "created_at")
}

func debeziumTable() *event.Relation {
	return table("public.outbox", "id*", "aggregatetype", "aggregateid", "type", "payload:jsonb")
}

const (
	commitTime = int64(1714566896123456) // 2024-05-01T12:34:56.123456Z
	rowID      = "0190f3a1-7c3b-7d44-9a5e-000000000001"
)

// insert makes the message of a row; "" is NULL.
func insert(rel *event.Relation, values ...string) *event.Msg {
	m := &event.Msg{Kind: event.Row, Pos: event.Position{Commit: 0x16B3748, Ord: 3}, Time: commitTime, XID: 742, Rel: rel}
	for _, v := range values {
		if v == "" {
			m.Cols = append(m.Cols, nil)
			continue
		}
		m.Cols = append(m.Cols, []byte(v))
	}
	return m
}

// nativeRow is a row of the native table; NULL where it says nothing.
type nativeRow struct{ id, aggType, aggID, typ, topic, key, headers, payload, at string }

func (r nativeRow) msg(rel *event.Relation) *event.Msg {
	return insert(rel, r.id, r.aggType, r.aggID, r.typ, r.topic, r.key, r.headers, r.payload, r.at, "2024-05-01 12:00:00+00")
}

func fine() nativeRow {
	return nativeRow{
		rowID, "assessment", "agg-1", "result.published", "", "", `{"trace_id":"t-1","correlation_id":"c-1"}`,
		`{"data":{"job":"job-7"},"schema_version":1}`, "2024-05-01 14:34:56+02",
	}
}

// fakeAvro encodes nothing: it refuses payloads that hold "bad" and else keeps
// the text, so that a test sees which version wrote it.
type fakeAvro struct{ schema string }

var errFake = errors.New("data.score: 1.2 > maximum 1")

func (f fakeAvro) Append(dst, json []byte) ([]byte, error) {
	if bytes.Contains(json, []byte("bad")) {
		return dst, errFake
	}
	return append(append(append(dst, f.schema...), '|'), json...), nil
}

func events() contract.File {
	return contract.File{
		Name:  "events.yaml",
		Lines: map[string]int{"events[0]": 4},
		Events: []contract.Event{{
			Type: "result.published", Topic: "results.v1", Schema: "Result", Key: []string{"payload.data.job", "aggregate_id"},
		}, {
			Type: "plain", Topic: "plain.v1", Encoding: "json",
		}, {
			Type: "raw", Topic: "raw.v1", Encoding: "bytes",
		}, {
			Type: "two", Topic: "new.v1", Schema: "Result", Key: []string{"header.k", "column.created_at", "const:k"},
			Also: []contract.Also{{Topic: "old.v1", Encoding: "json", Key: []string{"aggregate_id"}}},
		}, {
			Type: "nowhere", Encoding: "json",
		}, {
			Type: "many", Topic: "many.v1", Schema: "Many",
		}},
	}
}

type setup struct {
	file *contract.File
	opts Options
	reg  *prometheus.Registry
	log  *strings.Builder
	now  time.Time
}

// transformer compiles events() with the fake encoder; change adapts it.
func transformer(t testing.TB, change func(*setup)) *Transformer {
	t.Helper()
	f := events()
	s := &setup{file: &f, reg: prometheus.NewRegistry(), log: &strings.Builder{}, now: time.Unix(1_700_000_000, 0)}
	s.opts = Options{
		Service: "svc", Database: "essays", SystemID: "7000000000000000001", Registerer: s.reg,
		Logger: slog.New(slog.NewTextHandler(s.log, nil)),
		Versions: func(name string) []int {
			return map[string][]int{"Result": {1, 2}, "Many": {3, 4}}[name]
		},
		Schemas: func(name string, v int) (Schema, bool) {
			return Schema{ID: 100 + v, Text: name + "V" + strconv.Itoa(v)}, true
		},
		compile: func(schema string) (encoder, error) { return fakeAvro{schema}, nil },
		now:     func() time.Time { return s.now },
	}
	if change != nil {
		change(s)
	}
	var err error
	if s.opts.Contract, err = contract.New(*s.file); err != nil {
		t.Fatal(err)
	}
	tr, err := Compile(s.opts)
	if err != nil {
		t.Fatal(err)
	}
	return tr
}

// records appends one message and prints its records, one line each:
// topic key value {header=value …} time.
func records(t testing.TB, tr *Transformer, m *event.Msg) ([]event.Record, error) {
	t.Helper()
	b := event.NewBatch(event.NewPool(1 << 20))
	err := tr.Append(b, m)
	for _, c := range m.Cols {
		for i := range c {
			c[i] = '#' // the socket buffer is dead now
		}
	}
	for i := range m.Content {
		m.Content[i] = '#'
	}
	return b.Records, err
}

func one(t testing.TB, tr *Transformer, m *event.Msg) event.Record {
	t.Helper()
	rs, err := records(t, tr, m)
	if err != nil {
		t.Fatal(err)
	}
	if len(rs) != 1 {
		t.Fatalf("%d records, want 1", len(rs))
	}
	return rs[0]
}

func headerText(r event.Record) string {
	out := make([]string, 0, len(r.Headers))
	for _, h := range r.Headers {
		v := string(h.Value)
		if h.Value == nil {
			v = "<null>"
		}
		out = append(out, h.Key+"="+v)
	}
	return strings.Join(out, " ")
}
