package transform

// W3C Trace Context, level 1: version "-" trace-id "-" parent-id "-" flags, in
// lower-case hexadecimal; neither id is all zeros.
const (
	traceIDLen  = 32
	parentIDLen = 16
)

func validTraceparent(p []byte) bool {
	return len(p) >= 55 && p[2] == '-' && p[35] == '-' && p[52] == '-' &&
		isLowerHex(p[:2]) && string(p[:2]) != "ff" && isLowerHex(p[53:55]) &&
		isTraceID(p[3:35], traceIDLen) && isTraceID(p[36:52], parentIDLen) &&
		(len(p) == 55 || string(p[:2]) != "00" && p[55] == '-')
}

// isTraceID reports whether p is n lower-case hexadecimal digits, not all zero.
func isTraceID(p []byte, n int) bool {
	if len(p) != n || !isLowerHex(p) {
		return false
	}
	for _, c := range p {
		if c != '0' {
			return true
		}
	}
	return false
}

func isLowerHex(p []byte) bool {
	for _, c := range p {
		if (c < '0' || c > '9') && (c < 'a' || c > 'f') {
			return false
		}
	}
	return true
}

// makeTraceparent makes a traceparent of a trace id the row gave, if that is a
// W3C trace id. The parent is the row's header span_id, else the first half of
// the event id when that is a UUID: the event is then the caller. The sampled
// flag is set, because somebody recorded the trace.
func (t *Transformer) makeTraceparent(trace []byte) []byte {
	if !isTraceID(trace, traceIDLen) {
		return nil
	}
	d := &t.derived
	buf := append(d.traceparent[:0], "00-"...)
	buf = append(append(buf, trace...), '-')
	if span, ok := t.row.given.text(notStandard, "span_id"); ok && isTraceID(span, parentIDLen) {
		return append(append(buf, span...), "-01"...)
	}
	start := len(buf)
	id := d.value[stdEventID]
	if len(id) != 36 {
		return nil
	}
	for _, c := range id[:18] { // xxxxxxxx-xxxx-xxxx
		if c != '-' {
			buf = append(buf, lower(c))
		}
	}
	if !isTraceID(buf[start:], parentIDLen) {
		return nil
	}
	return append(buf, "-01"...)
}

func lower(c byte) byte {
	if c >= 'A' && c <= 'F' {
		return c + 'a' - 'A'
	}
	return c
}
