package tail

import (
	"time"

	"github.com/cdc-relay/cdc-relay/internal/event"
)

// Record is one committed record of a topic.
type Record struct {
	Topic      string
	Partition  int32
	Offset     int64
	Time       time.Time
	Key, Value []byte // nil: null
	Headers    []event.Header
}

// header is the value of the first header with a name.
func (r *Record) header(name string) (string, bool) {
	for i := range r.Headers {
		if r.Headers[i].Key == name && r.Headers[i].Value != nil {
			return string(r.Headers[i].Value), true
		}
	}
	return "", false
}

// idHeaders hold the id of an event, by preset.
var idHeaders = []string{"event_id", "id", "ce_id"}

// typeHeaders hold the type of an event.
var typeHeaders = []string{"event_type", "ce_type"}

func (r *Record) first(names []string) string {
	for _, n := range names {
		if v, ok := r.header(n); ok {
			return v
		}
	}
	return ""
}

// Type is the event's type: by a header, else the member event_type of its
// value; "": neither says.
func (r *Record) Type(v *Value) string {
	if s := r.first(typeHeaders); s != "" {
		return s
	}
	return v.member("event_type")
}

// ID is the event's id: by a header, else the member event_id of its value.
func (r *Record) ID(v *Value) string {
	if s := r.first(idHeaders); s != "" {
		return s
	}
	return v.member("event_id")
}
