package deadletter

import (
	"encoding/json"
	"fmt"
	"unicode/utf8"
)

// Hold is a place in the order of events that a letter holds: a topic and a key,
// or, where the key of an event could not be told, its aggregate in every topic
// (Topic is empty and Key the aggregate's id).
type Hold struct {
	Topic string
	Key   string
}

// holdText is a Hold as it is written. A key need not be UTF-8.
type holdText struct {
	Topic     string  `json:"topic,omitempty"`
	Key       *string `json:"key,omitempty"`
	Bytes     []byte  `json:"key_base64,omitempty"`
	Aggregate *string `json:"aggregate_id,omitempty"`
}

// MarshalJSON implements json.Marshaler.
func (h Hold) MarshalJSON() ([]byte, error) {
	t := holdText{Topic: h.Topic}
	switch {
	case !utf8.ValidString(h.Key):
		t.Bytes = []byte(h.Key)
	case h.Topic == "":
		t.Aggregate = &h.Key
	default:
		t.Key = &h.Key
	}
	return json.Marshal(t)
}

// UnmarshalJSON implements json.Unmarshaler.
func (h *Hold) UnmarshalJSON(b []byte) error {
	var t holdText
	if err := json.Unmarshal(b, &t); err != nil {
		return err
	}
	h.Topic = t.Topic
	switch {
	case t.Aggregate != nil:
		h.Key = *t.Aggregate
	case t.Key != nil:
		h.Key = *t.Key
	default:
		h.Key = string(t.Bytes)
	}
	return nil
}

func (h Hold) String() string {
	if h.Topic == "" {
		return fmt.Sprintf("aggregate %q", h.Key)
	}
	return fmt.Sprintf("key %q of topic %s", h.Key, h.Topic)
}

func formatHolds(holds []Hold) string {
	if len(holds) == 0 {
		return ""
	}
	b, err := json.Marshal(holds)
	if err != nil { // strings always marshal
		return ""
	}
	return string(b)
}

func parseHolds(s string) ([]Hold, error) {
	var holds []Hold
	err := json.Unmarshal([]byte(s), &holds)
	return holds, err
}

// Held says what is held, and by which letter. It only grows: what is released
// is found out by reading the letters anew. It belongs to one goroutine.
type Held struct {
	heads      map[Hold]string // the first letter that holds the place
	aggregates int
}

// NewHeld returns a Held that holds nothing.
func NewHeld() *Held { return &Held{heads: map[Hold]string{}} }

// Len is how many places are held.
func (h *Held) Len() int { return len(h.heads) }

// Aggregates reports whether any aggregate is held.
func (h *Held) Aggregates() bool { return h.aggregates > 0 }

// Behind is the letter an event with this topic and key has to wait for. It does
// not allocate.
func (h *Held) Behind(topic string, key []byte) (id string, held bool) {
	id, held = h.heads[Hold{Topic: topic, Key: string(key)}]
	return id, held
}

// Add notes what a letter holds. The first letter that holds a place stays its
// head.
func (h *Held) Add(id string, holds []Hold) {
	for _, at := range holds {
		if _, held := h.heads[at]; held {
			continue
		}
		h.heads[at] = id
		if at.Topic == "" {
			h.aggregates++
		}
	}
}

// Fresh is how many of holds nobody holds yet.
func (h *Held) Fresh(holds []Hold) (n int) {
	for _, at := range holds {
		if _, held := h.heads[at]; !held {
			n++
		}
	}
	return n
}

// First is the first of holds that is held, and by whom.
func (h *Held) First(holds []Hold) (at Hold, id string, held bool) {
	for _, at := range holds {
		if id, held := h.heads[at]; held {
			return at, id, true
		}
	}
	return Hold{}, "", false
}
