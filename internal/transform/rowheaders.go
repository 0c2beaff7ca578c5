package transform

import "errors"

// standard is a header this relay can give by itself. The order is the order in
// which the native preset writes them.
type standard uint8

const (
	stdEventID standard = iota
	stdEventType
	stdSchemaVersion
	stdOccurredAt
	stdContentType
	stdTraceID
	stdCorrelationID
	stdTraceparent
	stdDebeziumID // preset debezium: the event id, under the name of its router
	standards

	notStandard = standards
)

var standardNames = [standards]string{
	"event_id", "event_type", "schema_version", "occurred_at", "content_type", "trace_id", "correlation_id", "traceparent", "id",
}

func standardOf(name string) standard {
	switch name {
	case "event_id":
		return stdEventID
	case "event_type":
		return stdEventType
	case "schema_version":
		return stdSchemaVersion
	case "occurred_at":
		return stdOccurredAt
	case "content_type":
		return stdContentType
	case "trace_id":
		return stdTraceID
	case "correlation_id":
		return stdCorrelationID
	case "traceparent":
		return stdTraceparent
	case "id":
		return stdDebeziumID
	}
	return notStandard
}

// rowHeader is a header the row gave. A nil value is JSON null.
type rowHeader struct {
	key   string
	value []byte
	std   standard
}

// rowHeaders are the headers a row gave, in its order; a name that comes twice
// is one header with the last value, as in Postgres.
type rowHeaders struct {
	list []rowHeader
	std  [standards]int // index in list + 1; 0: not given
	seen map[string]int // index in list, when there are many
}

// manyHeaders is the number from which names are looked up in a map.
const manyHeaders = 32

func (h *rowHeaders) reset() {
	h.list = h.list[:0]
	h.std = [standards]int{}
	clear(h.seen)
}

// text is a header's value, if the row gave one that is neither null nor empty.
func (h *rowHeaders) text(std standard, name string) ([]byte, bool) {
	var i int
	if std != notStandard {
		i = h.std[std] - 1
	} else {
		i = h.index(name)
	}
	if i < 0 || len(h.list[i].value) == 0 {
		return nil, false
	}
	return h.list[i].value, true
}

func (h *rowHeaders) index(name string) int {
	if len(h.list) <= manyHeaders {
		for i := range h.list {
			if h.list[i].key == name {
				return i
			}
		}
		return -1
	}
	if len(h.seen) == 0 {
		if h.seen == nil {
			h.seen = map[string]int{}
		}
		for i := range h.list {
			h.seen[h.list[i].key] = i
		}
	}
	if i, ok := h.seen[name]; ok {
		return i
	}
	return -1
}

func (h *rowHeaders) put(name string, value []byte) {
	if i := h.index(name); i >= 0 {
		h.list[i].value = value
		return
	}
	std := standardOf(name)
	h.list = append(h.list, rowHeader{key: name, value: value, std: std})
	if std != notStandard {
		h.std[std] = len(h.list)
	}
	if len(h.seen) > 0 {
		h.seen[name] = len(h.list) - 1
	}
}

var (
	errHeadersObject = errors.New("the headers are no JSON object")
	errHeaderName    = errors.New("the name of a header holds a character zero")
)

// parseHeaders reads the row's headers out of a JSON object: strings as their
// text, null as null, everything else as JSON text.
func (t *Transformer) parseHeaders(doc []byte) error {
	r := &t.row
	it := object(doc, skipSpace(doc, 0))
	for it.next() {
		raw, ok := it.value()
		if !ok {
			break
		}
		name, err := t.headerName(it.key)
		if err != nil {
			return err
		}
		var value []byte
		switch {
		case raw[0] == '"':
			if value, r.scratch, ok = stringText(raw, r.scratch); !ok {
				return errHeadersObject
			}
		case string(raw) != "null":
			value = raw
		}
		r.given.put(name, value)
	}
	if it.bad || skipSpace(doc, it.at) != len(doc) {
		return errHeadersObject
	}
	return nil
}

// headerName decodes and interns the name of a header.
func (t *Transformer) headerName(raw []byte) (string, error) {
	if name, ok := t.names[string(raw)]; ok {
		return name, nil
	}
	var room [64]byte
	text, ok := appendUnquoted(room[:0], raw)
	if !ok {
		return "", errHeadersObject
	}
	name := string(text)
	for i := range len(name) {
		if name[i] == 0 { // a C string in the client: two names could become one
			return "", errHeaderName
		}
	}
	if len(t.names) >= maxInterned {
		clear(t.names)
	}
	t.names[string(raw)] = name
	return name, nil
}
