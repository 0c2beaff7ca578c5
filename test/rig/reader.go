package rig

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"strconv"
	"sync"
	"time"

	"github.com/twmb/avro"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/sr"
)

// Record is one record as a consumer sees it.
type Record struct {
	Topic     string
	Partition int32
	Offset    int64
	Key       string
	Headers   map[string]string
	Value     []byte
	Time      time.Time // of the record: the commit in Postgres
	Seen      time.Time
}

// Reader is a read_committed consumer of some topics, from their beginning.
type Reader struct {
	client *kgo.Client
	All    []Record
	// On, if set, is called with each record as it comes.
	On func(*Record)
}

// NewReader returns a Reader; it connects at the first Read.
func NewReader(bootstrap string, topics ...string) (*Reader, error) {
	c, err := kgo.NewClient(kgo.SeedBrokers(bootstrap), kgo.ConsumeTopics(topics...),
		kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()), kgo.FetchIsolationLevel(kgo.ReadCommitted()),
		kgo.FetchMaxWait(500*time.Millisecond), kgo.MetadataMinAge(250*time.Millisecond), kgo.UnknownTopicRetries(-1))
	if err != nil {
		return nil, fmt.Errorf("make the consumer: %w", err)
	}
	return &Reader{client: c}, nil
}

// Close ends the consumer.
func (r *Reader) Close() { r.client.Close() }

// Read reads until enough says so, or an error.
func (r *Reader) Read(ctx context.Context, enough func(n int) bool) error {
	for !enough(len(r.All)) {
		f := r.client.PollFetches(ctx)
		if err := ctx.Err(); err != nil {
			return fmt.Errorf("after %d records: %w", len(r.All), err)
		}
		for _, e := range f.Errors() {
			if !retryable(e.Err) {
				return fmt.Errorf("topic %s: %w", e.Topic, e.Err)
			}
		}
		now := time.Now()
		f.EachRecord(func(k *kgo.Record) {
			rec := Record{Topic: k.Topic, Partition: k.Partition, Offset: k.Offset, Key: string(k.Key), Value: k.Value,
				Headers: make(map[string]string, len(k.Headers)), Time: k.Timestamp, Seen: now}
			for _, h := range k.Headers {
				rec.Headers[h.Key] = string(h.Value)
			}
			r.All = append(r.All, rec)
			if r.On != nil {
				r.On(&r.All[len(r.All)-1])
			}
		})
	}
	return nil
}

func retryable(err error) bool {
	var data *kgo.ErrDataLoss
	return !errors.As(err, &data)
}

// Settle reads on until nothing came for quiet: what should not be there would
// have come by then.
func (r *Reader) Settle(ctx context.Context, quiet time.Duration) error {
	for {
		before := len(r.All)
		wait, cancel := context.WithTimeout(ctx, quiet)
		err := r.Read(wait, func(n int) bool { return n > before })
		cancel()
		if err == nil {
			continue
		}
		if ctx.Err() != nil {
			return ctx.Err()
		}
		return nil
	}
}

// Decoder decodes Avro values of the Confluent wire format through a registry.
// It is safe for concurrent use.
type Decoder struct {
	client *sr.Client
	mu     sync.Mutex
	known  map[int]*avro.Schema
}

// NewDecoder returns a Decoder of the registry at url.
func NewDecoder(url string) (*Decoder, error) {
	c, err := sr.NewClient(sr.URLs(url))
	if err != nil {
		return nil, err
	}
	return &Decoder{client: c, known: map[int]*avro.Schema{}}, nil
}

// Decode decodes one value into plain Go values.
func (d *Decoder) Decode(ctx context.Context, value []byte) (map[string]any, error) {
	if len(value) < 5 || value[0] != 0 {
		return nil, fmt.Errorf("not the Confluent wire format: % x…", value[:min(len(value), 5)])
	}
	s, err := d.schema(ctx, int(binary.BigEndian.Uint32(value[1:])))
	if err != nil {
		return nil, err
	}
	var v any
	rest, err := s.Decode(value[5:], &v)
	if err != nil {
		return nil, err
	}
	if len(rest) > 0 {
		return nil, fmt.Errorf("%d bytes behind the value", len(rest))
	}
	m, ok := v.(map[string]any)
	if !ok {
		return nil, fmt.Errorf("a %T, not a record", v)
	}
	return m, nil
}

// JSON decodes one value into JSON text with the fields in the schema's order,
// for people to read.
func (d *Decoder) JSON(ctx context.Context, value []byte) ([]byte, error) {
	v, err := d.Decode(ctx, value)
	if err != nil {
		return nil, err
	}
	s, err := d.schema(ctx, int(binary.BigEndian.Uint32(value[1:])))
	if err != nil {
		return nil, err
	}
	return s.EncodeJSON(v)
}

func (d *Decoder) schema(ctx context.Context, id int) (*avro.Schema, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if s := d.known[id]; s != nil {
		return s, nil
	}
	text, err := d.client.SchemaByID(ctx, id)
	if err != nil {
		return nil, fmt.Errorf("schema %d: %w", id, err)
	}
	s, err := avro.Parse(text.Schema)
	if err != nil {
		return nil, fmt.Errorf("schema %d: %w", id, err)
	}
	d.known[id] = s
	return s, nil
}

// meta reads a number from the metadata of a decoded event.
func meta(v map[string]any, name string) int {
	m, _ := v["metadata"].(map[string]any)
	s, _ := m[name].(string)
	n, _ := strconv.Atoi(s)
	return n
}
