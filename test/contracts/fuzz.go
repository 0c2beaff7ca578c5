package contracts

import (
	"bytes"
	"context"
	_ "embed"
	"encoding/base64"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
	"github.com/twmb/franz-go/pkg/sr"
	"pgregory.net/rapid"

	"github.com/cdc-relay/cdc-relay/internal/transform/avrojson"
	"github.com/cdc-relay/cdc-relay/internal/transform/avrojson/avrogen"
	"github.com/cdc-relay/cdc-relay/test/rig"
)

//go:embed fuzz.py
var decodeByFastavro string

// fuzzed is one random schema.
type fuzzed struct {
	name string // of the schema: Fuzz07
	text string // of its file
	gen  *avrogen.Gen
	raw  any
	make *rapid.Generator[[]byte]
	enc  *avrojson.Encoder
}

func (f *fuzzed) eventType() string { return "fuzz." + strings.ToLower(f.name) }

// Fuzz writes random documents under random schemas and accounts for each in r.
func Fuzz(ctx context.Context, p *Parts, schemas, documents, seed int, r *Report) (err error) {
	client, err := sr.NewClient(sr.URLs(p.Stack.Registry().URL()))
	if err != nil {
		return err
	}
	scratch := "fuzz-" + uuid.NewString()
	all, err := randomSchemas(schemas, seed, func(text string) bool {
		// A registry may fail on a schema nobody would write (Apicurio answers 500).
		_, err := client.CreateSchema(ctx, scratch+"-"+uuid.NewString(), sr.Schema{Schema: text})
		return err == nil
	})
	if err != nil {
		return err
	}
	dir := filepath.Join(p.Dir, "fuzz", "avro")
	if err := writeSchemas(dir, all); err != nil {
		return err
	}
	l, err := p.lab(ctx, "fuzz", rig.Config{Contract: fuzzContract(all), Schemas: dir, Extra: noShare})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, l.close(ctx)) }()
	relay, err := l.start()
	if err != nil {
		return err
	}
	defer relay.Kill()
	if err := relay.Ready(ctx); err != nil {
		return err
	}
	written, err := l.documents(ctx, all, documents, seed)
	if err != nil {
		return err
	}
	p.say("fuzz: %d documents of %d schemas are committed", len(written), len(all))
	r.FuzzDocuments, r.FuzzSchemas = len(written), len(all)
	return l.account(ctx, relay, all, written, r)
}

// noShare: here it is the point that most events are dead letters.
const noShare = "dead_letters: {max_share: 1}\n"

// randomSchemas makes n schemas, each a record, that the relay takes and the
// registry.
func randomSchemas(n, seed int, registry func(text string) bool) ([]*fuzzed, error) {
	var all []*fuzzed
	for try := seed; len(all) < n; try++ {
		if try > seed+100*n {
			return nil, fmt.Errorf("the generator makes too few schemas the relay takes: %d of %d", len(all), n)
		}
		f := &fuzzed{name: fmt.Sprintf("Fuzz%02dV1", len(all))}
		f.raw = rapid.Custom(func(t *rapid.T) any {
			f.gen = avrogen.New(t)
			fields := make([]any, 2+try%3)
			for i := range fields {
				fields[i] = map[string]any{"name": fmt.Sprintf("f%d", i), "type": f.gen.Schema(3, false)}
			}
			return map[string]any{"type": "record", "name": "fuzz." + f.name, "fields": fields}
		}).Example(try)
		text, err := json.Marshal(f.raw)
		if err != nil {
			return nil, err
		}
		// Types of different schemas have different names.
		f.text = strings.ReplaceAll(string(text), `"t.N`, `"t`+f.name+`.N`)
		program, err := avrojson.Compile(f.text)
		if err != nil || !registry(f.text) {
			continue
		}
		f.enc = program.NewEncoder()
		f.make = rapid.Custom(func(t *rapid.T) []byte {
			g := f.gen.On(t)
			doc := g.Doc(f.raw)
			if g.Rare(4) {
				doc = g.Mutate(doc)
			}
			return bytes.ReplaceAll(doc, []byte(`"t.N`), []byte(`"t`+f.name+`.N`))
		})
		all = append(all, f)
	}
	return all, nil
}

func writeSchemas(dir string, all []*fuzzed) error {
	if err := errors.Join(os.RemoveAll(dir), os.MkdirAll(dir, 0o755)); err != nil {
		return err
	}
	for _, f := range all {
		if err := os.WriteFile(filepath.Join(dir, f.name+".avsc"), []byte(f.text), 0o600); err != nil {
			return err
		}
	}
	return nil
}

func fuzzContract(all []*fuzzed) string {
	var b strings.Builder
	b.WriteString("defaults: {encoding: avro, key: [aggregate_id], on_error: dead_letter}\nevents:\n")
	for _, f := range all {
		fmt.Fprintf(&b, "  - {type: %s, topic: PREFIX.%s, schema: %s, topic_class: few}\n", f.eventType(), f.eventType(), strings.TrimSuffix(f.name, "V1"))
	}
	b.WriteString("topic_classes:\n  few: {partitions: 1, cleanup.policy: delete}\n")
	return b.String()
}

// document is one that a service could have written: an object that Postgres takes
// for JSON. Most random ones break their schema somewhere; every second time one
// that fits is looked for, so that there is enough of both sorts.
func (f *fuzzed) document(seed int) []byte {
	const tries = 20
	fits := seed%2 == 0
	for n := 0; ; n++ {
		doc := f.make.Example(seed*tries*50 + n)
		if !json.Valid(doc) || !utf8.Valid(doc) || !bytes.HasPrefix(bytes.TrimLeft(doc, " \t\r\n"), []byte("{")) {
			continue
		}
		if !fits || n >= tries {
			return doc
		}
		if _, err := f.enc.Append(nil, doc); err == nil {
			return doc
		}
	}
}

// documents writes n documents, in transactions of up to 500, and returns the
// ids of their events.
func (l *lab) documents(ctx context.Context, all []*fuzzed, n, seed int) (map[string]bool, error) {
	ids := make(map[string]bool, n)
	var rows [][]any
	for i := 0; len(ids) < n; i++ {
		f := all[i%len(all)]
		doc := f.document(seed + i/len(all))
		id := uuid.NewString()
		ids[id] = true
		rows = append(rows, []any{id, "fuzz", fmt.Sprintf("k%d", i%97), f.eventType(), json.RawMessage(doc)})
		if len(rows) < 500 && len(ids) < n {
			continue
		}
		_, err := l.db.CopyFrom(ctx, pgx.Identifier{"cdc_relay", "outbox"},
			[]string{"id", "aggregate_type", "aggregate_id", "event_type", "payload"}, pgx.CopyFromRows(rows))
		if err != nil {
			return nil, fmt.Errorf("write documents up to %d: %w", i, err)
		}
		rows = rows[:0]
	}
	return ids, nil
}

// account reads until every event came to its end and holds them against what
// was written.
func (l *lab) account(ctx context.Context, relay *rig.Relay, all []*fuzzed, written map[string]bool, r *Report) error {
	letters, err := l.letters(ctx)
	if err != nil {
		return err
	}
	topics := []string{letters}
	for _, f := range all {
		topics = append(topics, l.name+"."+f.eventType())
	}
	reader, err := rig.NewReader(l.Stack.Kafka().Bootstrap(), topics...)
	if err != nil {
		return err
	}
	defer reader.Close()
	if err := until(ctx, relay, reader, len(written)); err != nil {
		return err
	}
	if err := reader.Settle(ctx, 2*time.Second); err != nil {
		return err
	}
	if code, err := relay.Stop(ctx); code != 0 || err != nil {
		return fmt.Errorf("the relay ended with exit code %d: %w", code, err)
	}
	var avro []rig.Record
	seen := make(map[string]bool, len(written))
	for _, rec := range reader.All {
		id := rec.Headers["event_id"]
		if rec.Topic == letters {
			id = rec.Headers["cdc_dlq_row_id"]
			if rec.Headers["cdc_dlq_rule"] == "" || rec.Headers["cdc_dlq_path"] == "" {
				return fmt.Errorf("a dead letter without rule or path: %v %s", rec.Headers, rec.Value)
			}
			r.FuzzDeadLetters++
		} else {
			avro = append(avro, rec)
		}
		if !written[id] || seen[id] {
			return fmt.Errorf("event %q of %s was not written, or comes twice", id, rec.Topic)
		}
		seen[id] = true
	}
	if len(seen) != len(written) {
		return fmt.Errorf("%d of %d documents are neither a record nor a dead letter", len(written)-len(seen), len(written))
	}
	return l.decode(ctx, avro, r)
}

// until reads until n records are there, or the relay is gone.
func until(ctx context.Context, relay *rig.Relay, reader *rig.Reader, n int) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	go func() {
		select {
		case <-relay.Done():
			cancel(fmt.Errorf("the relay ended: %w\n%s", relay.Wait(), relay.Log()))
		case <-ctx.Done():
		}
	}()
	if err := reader.Read(ctx, func(have int) bool { return have >= n }); err != nil {
		return errors.Join(err, context.Cause(ctx))
	}
	return nil
}

// decode has the records decoded by fastavro.
func (l *lab) decode(ctx context.Context, records []rig.Record, r *Report) error {
	client, err := sr.NewClient(sr.URLs(l.Stack.Registry().URL()))
	if err != nil {
		return err
	}
	python, err := l.Stack.Python(ctx)
	if err != nil {
		return err
	}
	var in bytes.Buffer
	known := map[uint32]bool{}
	for _, rec := range records {
		if len(rec.Value) < 5 || rec.Value[0] != 0 {
			return fmt.Errorf("event %s: % x is not the Confluent wire format", rec.Headers["event_id"], rec.Value)
		}
		id := binary.BigEndian.Uint32(rec.Value[1:])
		if !known[id] {
			known[id] = true
			s, err := client.SchemaByID(ctx, int(id))
			if err != nil {
				return fmt.Errorf("schema %d: %w", id, err)
			}
			fmt.Fprintf(&in, "schema %d %s\n", id, base64.StdEncoding.EncodeToString([]byte(s.Schema)))
		}
		fmt.Fprintf(&in, "%s %d %s\n", rec.Headers["event_id"], id, base64.StdEncoding.EncodeToString(rec.Value[5:]))
	}
	cmd := exec.CommandContext(ctx, python, "-c", decodeByFastavro)
	cmd.Stdin, cmd.Stderr = &in, os.Stderr
	out, err := cmd.Output()
	if err != nil {
		return fmt.Errorf("decode by fastavro: %w", err)
	}
	var got struct {
		Decoded     int
		Undecodable []string
	}
	if err := json.Unmarshal(out, &got); err != nil {
		return err
	}
	r.FuzzAvro, r.FuzzUndecodable = got.Decoded, len(got.Undecodable)
	if len(got.Undecodable) > 0 || got.Decoded != len(records) {
		return fmt.Errorf("fastavro decoded %d of %d records, not these: %s", got.Decoded, len(records), strings.Join(got.Undecodable[:min(5, len(got.Undecodable))], "\n"))
	}
	return nil
}
