package tail

import (
	"bytes"
	"encoding/json"
	"errors"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/cdc-relay/cdc-relay/internal/event"
)

func sample() *Record {
	return &Record{
		Topic: "essays.v1", Partition: 3, Offset: 1042, Time: time.Date(2026, 5, 1, 12, 34, 56, 123456000, time.UTC), Key: []byte("essay-1"),
		Headers: []event.Header{
			{Key: "event_id", Value: []byte("e-1")}, {Key: "event_type", Value: []byte("essay.state.changed")},
			{Key: "x", Value: nil}, {Key: "bin", Value: []byte{0xff, 0}}, {Key: "twice", Value: []byte("a")}, {Key: "evil", Value: []byte("\x1b[2J")}, {Key: "twice", Value: []byte("b")},
		},
	}
}

func print1(t *testing.T, style Style, coloured bool, r *Record, v *Value) string {
	t.Helper()
	var out bytes.Buffer
	if err := NewPrinter(&out, style, coloured).Print(r, v); err != nil {
		t.Fatal(err)
	}
	return out.String()
}

func TestPrintPretty(t *testing.T) {
	t.Parallel()
	got := print1(t, Pretty, false, sample(), &Value{Form: Avro, JSON: []byte(`{"b":1,"a":[]}`), Schema: 7})
	want := `essay.state.changed  2026-05-01T12:34:56.123Z  key essay-1
  topic essays.v1, partition 3, offset 1042, schema 7
  event_id    e-1
  event_type  essay.state.changed
  x           null
  bin         0xff00
  twice       a
  evil        "\u001b[2J"
  twice       b
  {
    "b": 1,
    "a": []
  }

`
	if got != want {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
}

func TestPrintOneLine(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		v    Value
		want string
	}{
		"json":  {Value{Form: JSON, JSON: []byte(`{"a":1}`)}, ` {"a":1}`},
		"null":  {Value{Form: Null}, ` null (a tombstone)`},
		"text":  {Value{Form: Text, Raw: []byte("a\nb")}, ` "a\nb"`},
		"bytes": {Value{Form: Binary, Raw: []byte{1, 2}}, ` 2 bytes, base64: AQI=`},
		"wrong": {Value{Form: Binary, Raw: []byte{0, 0, 0, 0, 7}, Schema: 7, Err: errors.New("schema 7: \x1b no \"answer\"")}, ` cannot be decoded: schema 7: \u001b no "answer" (5 bytes, base64: AAAAAAc=)`},
	} {
		got := print1(t, OneLine, false, sample(), &tc.v)
		want := "2026-05-01T12:34:56.123Z essays.v1[3]@1042 key=essay-1 type=essay.state.changed id=e-1" + tc.want + "\n"
		if got != want {
			t.Errorf("%s:\n got %s\nwant %s", name, got, want)
		}
	}
}

func TestPrintJSON(t *testing.T) {
	t.Parallel()
	r := sample()
	got := print1(t, Lines, true, r, &Value{Form: Avro, JSON: []byte(`{"b":1,"a":[]}`), Schema: 7})
	want := `{"topic":"essays.v1","partition":3,"offset":1042,"timestamp":"2026-05-01T12:34:56.123456Z","key":"essay-1",` +
		`"headers":{"event_id":"e-1","event_type":"essay.state.changed","x":null,"bin":{"base64":"/wA="},"twice":["a","b"],"evil":"\u001b[2J"},` +
		`"schema_id":7,"format":"avro","value":{"b":1,"a":[]}}` + "\n"
	if got != want {
		t.Errorf("\n got %s\nwant %s", got, want)
	}
	r.Key, r.Headers = nil, nil
	got = print1(t, Lines, false, r, &Value{Form: Binary, Raw: []byte{0, 0, 0, 0, 7}, Schema: 7, Err: errors.New("no")})
	want = `{"topic":"essays.v1","partition":3,"offset":1042,"timestamp":"2026-05-01T12:34:56.123456Z","key":null,"headers":{},"schema_id":7,"format":"binary","value":null,"value_base64":"AAAAAAc=","error":"no"}` + "\n"
	if got != want {
		t.Errorf("\n got %s\nwant %s", got, want)
	}
	got = print1(t, Lines, false, r, &Value{Form: Text, Raw: []byte("hej")})
	if !strings.Contains(got, `"format":"text","value":"hej"}`) {
		t.Errorf("%s", got)
	}
}

// checkLine demands that a record is one line of valid JSON and UTF-8 in which
// no character is left that a terminal acts on, and so in the other styles.
func checkLine(t *testing.T, r *Record, v *Value) {
	t.Helper()
	line := print1(t, Lines, false, r, v)
	if !json.Valid([]byte(line)) || strings.Count(line, "\n") != 1 {
		t.Errorf("no line of JSON: %q", line)
	}
	for _, style := range []Style{Lines, OneLine, Pretty} {
		text := print1(t, style, false, r, v)
		if !utf8.ValidString(text) {
			t.Errorf("no UTF-8: %q", text)
		}
		for _, c := range text {
			if c != '\n' && hidden(c) {
				t.Errorf("character %x in %q", c, text)
			}
		}
	}
}

// Colours come on a terminal only, never in JSON, and take nothing away.
func TestPrintColours(t *testing.T) {
	t.Parallel()
	v := &Value{Form: Binary, Raw: []byte{1}, Err: errors.New("no")}
	for _, style := range []Style{Pretty, OneLine} {
		coloured, plain := print1(t, style, true, sample(), v), print1(t, style, false, sample(), v)
		if !strings.Contains(coloured, "\x1b[1;31mcannot be decoded") || strings.Contains(plain, "\x1b") {
			t.Errorf("%q %q", coloured, plain)
		}
		for _, c := range []string{colours.title, colours.label, colours.wrong, colours.off} {
			coloured = strings.ReplaceAll(coloured, c, "")
		}
		if coloured != plain {
			t.Errorf("without colours:\n%s\nwant\n%s", coloured, plain)
		}
	}
	if got := print1(t, Lines, true, sample(), v); strings.Contains(got, "\x1b") {
		t.Errorf("%q", got)
	}
}
