package tail

import (
	"bytes"
	"encoding/base64"
	"fmt"
	"io"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/cdc-relay/cdc-relay/internal/event"
)

// Style is how records are printed.
type Style uint8

// The styles.
const (
	Pretty  Style = iota // a block for each record
	OneLine              // a line for each record
	Lines                // a JSON object on a line for each record
)

// Printer prints records, each with one call of Write.
type Printer struct {
	w     io.Writer
	style Style
	paint palette
	buf   bytes.Buffer
}

// palette holds what switches colours on a terminal; empty: no colours.
type palette struct{ title, label, wrong, off string }

var colours = palette{title: "\x1b[1;36m", label: "\x1b[2m", wrong: "\x1b[1;31m", off: "\x1b[0m"}

// NewPrinter returns a Printer that writes to w. Colours are for terminals and
// never in Lines.
func NewPrinter(w io.Writer, style Style, coloured bool) *Printer {
	p := &Printer{w: w, style: style}
	if coloured && style != Lines {
		p.paint = colours
	}
	return p
}

// Print prints one record with its decoded value.
func (p *Printer) Print(r *Record, v *Value) error {
	p.buf.Reset()
	switch p.style {
	case Lines:
		p.buf.Write(appendRecord(nil, r, v))
		p.buf.WriteByte('\n')
	case OneLine:
		p.line(r, v)
	default:
		p.block(r, v)
	}
	_, err := p.w.Write(p.buf.Bytes())
	return err
}

const millis = "2006-01-02T15:04:05.000Z07:00"

func (p *Printer) line(r *Record, v *Value) {
	c := p.paint
	fmt.Fprintf(&p.buf, "%s%s%s %s%s[%d]@%d%s", c.label, r.Time.Format(millis), c.off, c.title, r.Topic, r.Partition, r.Offset, c.off)
	p.labelled(" ", "key", shown(r.Key))
	if t := r.Type(v); t != "" {
		p.labelled(" ", "type", shown([]byte(t)))
	}
	if id := r.ID(v); id != "" {
		p.labelled(" ", "id", shown([]byte(id)))
	}
	p.buf.WriteByte(' ')
	p.value(v, func(line []byte) []byte { return line })
	p.buf.WriteByte('\n')
}

func (p *Printer) labelled(before, name, text string) {
	fmt.Fprintf(&p.buf, "%s%s%s=%s%s", before, p.paint.label, name, p.paint.off, text)
}

func (p *Printer) block(r *Record, v *Value) {
	c := p.paint
	title := r.Type(v)
	if title == "" {
		title = r.Topic
	}
	fmt.Fprintf(&p.buf, "%s%s%s  %s  key %s\n", c.title, shown([]byte(title)), c.off, r.Time.Format(millis), shown(r.Key))
	fmt.Fprintf(&p.buf, "  %stopic %s, partition %d, offset %d", c.label, r.Topic, r.Partition, r.Offset)
	if v.Schema > 0 {
		fmt.Fprintf(&p.buf, ", schema %d", v.Schema)
	}
	fmt.Fprintf(&p.buf, "%s\n", c.off)
	width := 0
	for i := range r.Headers {
		width = max(width, utf8.RuneCountInString(shown([]byte(r.Headers[i].Key))))
	}
	for i := range r.Headers {
		h := &r.Headers[i]
		name := shown([]byte(h.Key))
		pad := strings.Repeat(" ", width-utf8.RuneCountInString(name))
		fmt.Fprintf(&p.buf, "  %s%s%s%s  %s\n", c.label, name, c.off, pad, shown(h.Value))
	}
	if v.JSON == nil {
		p.buf.WriteString("  ")
	}
	p.value(v, func(line []byte) []byte { return indented(line, "  ") })
	p.buf.WriteString("\n\n")
}

// value prints a value; layout lays JSON out.
func (p *Printer) value(v *Value, layout func([]byte) []byte) {
	switch {
	case v.JSON != nil:
		p.buf.Write(layout(v.JSON))
	case v.Form == Null:
		p.buf.WriteString("null (a tombstone)")
	case v.Form == Text:
		p.buf.WriteString(shown(v.Raw))
	case v.Err != nil:
		fmt.Fprintf(&p.buf, "%scannot be decoded: %s%s", p.paint.wrong, visible(v.Err.Error()), p.paint.off)
		fmt.Fprintf(&p.buf, " (%s)", bytesText(v.Raw))
	default:
		p.buf.WriteString(bytesText(v.Raw))
	}
}

// bytesText is the beginning of what is no text.
func bytesText(b []byte) string {
	const most = 64
	if len(b) > most {
		return fmt.Sprintf("%d bytes, base64: %s…", len(b), base64.StdEncoding.EncodeToString(b[:most/4*3]))
	}
	return fmt.Sprintf("%d bytes, base64: %s", len(b), base64.StdEncoding.EncodeToString(b))
}

// appendRecord writes a record as a JSON object. A value that is no JSON is a
// string (text) or has its bytes under value_base64; a header or key that is no
// text is {"base64": …}.
func appendRecord(b []byte, r *Record, v *Value) []byte {
	b = append(b, `{"topic":`...)
	b = appendString(b, r.Topic)
	b = fmt.Appendf(b, `,"partition":%d,"offset":%d,"timestamp":"%s","key":`, r.Partition, r.Offset, r.Time.Format(time.RFC3339Nano))
	b = appendBytes(b, r.Key)
	b = append(b, `,"headers":`...)
	b = appendHeaders(b, r.Headers)
	if v.Schema > 0 {
		b = fmt.Appendf(b, `,"schema_id":%d`, v.Schema)
	}
	b = append(b, `,"format":"`+string(v.Form)+`","value":`...)
	switch {
	case v.JSON != nil:
		b = append(b, v.JSON...)
	case v.Form == Text:
		b = appendString(b, string(v.Raw))
	default:
		b = append(b, "null"...)
	}
	if v.Form == Binary {
		b = append(b, `,"value_base64":`...)
		b = appendString(b, base64.StdEncoding.EncodeToString(v.Raw))
	}
	if v.Err != nil {
		b = append(b, `,"error":`...)
		b = appendString(b, v.Err.Error())
	}
	return append(b, '}')
}

func appendBytes(b, v []byte) []byte {
	switch {
	case v == nil:
		return append(b, "null"...)
	case utf8.Valid(v):
		return appendString(b, string(v))
	}
	b = append(b, `{"base64":`...)
	return append(appendString(b, base64.StdEncoding.EncodeToString(v)), '}')
}

// appendHeaders writes headers as an object in their order; one that comes more
// than once has a list of its values.
func appendHeaders(b []byte, all []event.Header) []byte {
	b = append(b, '{')
	done := map[string]bool{}
	for i := range all {
		name := all[i].Key
		if done[name] {
			continue
		}
		if len(done) > 0 {
			b = append(b, ',')
		}
		done[name] = true
		b = append(appendString(b, name), ':')
		b = appendSame(b, all[i:], name)
	}
	return append(b, '}')
}

// appendSame writes the value, or the list of the values, of one header.
func appendSame(b []byte, from []event.Header, name string) []byte {
	var values [][]byte
	for i := range from {
		if from[i].Key == name {
			values = append(values, from[i].Value)
		}
	}
	if len(values) == 1 {
		return appendBytes(b, values[0])
	}
	for i, v := range values {
		b = append(b, "[,"[min(i, 1)])
		b = appendBytes(b, v)
	}
	return append(b, ']')
}
