package main

import (
	"strings"
	"testing"

	"github.com/google/uuid"
	"github.com/twmb/franz-go/pkg/kgo"
)

func record(id uuid.UUID) *kgo.Record {
	return &kgo.Record{Headers: []kgo.RecordHeader{{Key: "event_id", Value: []byte(id.String())}}}
}

// The benchmark's figures are worth what its count is worth.
func TestCounter(t *testing.T) {
	t.Parallel()
	c := newCounter(3 * keys)
	for _, n := range []int{0, 1, keys, 2 * keys} {
		if err := c.add(record(eventID(n))); err != nil {
			t.Fatal(err)
		}
	}
	if c.n != 4 {
		t.Errorf("counted %d, want 4", c.n)
	}
	strange := eventID(5)
	strange[0]++
	for want, id := range map[string]uuid.UUID{
		"arrived twice": eventID(1), "never written": eventID(3 * keys), "was never": strange,
	} {
		if err := c.add(record(id)); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v, want %q", err, want)
		}
	}
	if err := c.add(record(eventID(2*keys + 1))); err != nil {
		t.Fatal(err)
	}
	if err := c.add(record(eventID(keys + 1))); err == nil || !strings.Contains(err.Error(), "same key") {
		t.Errorf("%v: an event that was overtaken must be found", err)
	}
}

func TestMedian(t *testing.T) {
	t.Parallel()
	if median([]float64{3, 1, 2}) != 2 || median([]float64{4, 1, 3, 2}) != 2.5 || median(nil) != 0 {
		t.Error("median")
	}
}
