package schema

import (
	"slices"
	"testing"
)

func TestDiff(t *testing.T) {
	t.Parallel()
	was := `{"type":"record","name":"O","namespace":"shop","doc":"An order.","fields":[
		{"name":"id","type":"string","doc":"Its id."},
		{"name":"gone","type":"int","default":0},
		{"name":"n","type":"int","minimum":0},
		{"name":"null_moved","type":["null","int"]},
		{"name":"status","type":{"type":"enum","name":"S","symbols":["A"]}},
		{"name":"lines","type":{"type":"array","items":{"type":"record","name":"L","fields":[{"name":"sku","type":["null","string"],"default":null}]}}},
		{"name":"parent","type":["null","O"],"default":null}]}`
	now := `{"type":"record","name":"O","namespace":"shop","doc":"One order.","aliases":["P"],"fields":[
		{"name":"id","type":{"type":"string","logicalType":"uuid"},"doc":"The id."},
		{"name":"n","type":"int","minimum":1,"maximum":9},
		{"name":"null_moved","type":["int","null"]},
		{"name":"status","type":{"type":"enum","name":"S","symbols":["A","B"],"default":"A"}},
		{"name":"lines","type":{"type":"array","items":{"type":"record","name":"L","fields":[{"name":"sku","type":["null","bytes"],"default":null}]}}},
		{"name":"parent","type":["null","O"],"default":null},
		{"name":"added","type":["null","long"],"default":null}]}`
	changes, err := Diff(was, now)
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, c := range changes {
		got = append(got, c.String())
	}
	want := []string{
		"~ $  aliases: none -> shop.P",
		`~ $  doc: "An order." -> "One order."`,
		"~ id  string -> string (uuid)",
		`~ id  doc: "Its id." -> "The id."`,
		"- gone  int, default 0",
		"~ n  attribute: minimum 0 -> minimum 1",
		"~ n  attribute: none -> maximum 9",
		"~ null_moved  with [null, int] -> with [int, null]",
		"~ status  symbols: A -> A, B",
		"~ status  default: none -> A",
		"~ lines[].sku  string -> bytes",
		"+ added  long or null, default null",
	}
	if !slices.Equal(got, want) {
		t.Errorf("got\n%q\nwant\n%q", got, want)
	}
	if DocsOnly(changes) {
		t.Error("not only documentation")
	}
	docs, err := Diff(was, `{"type":"record","name":"O","namespace":"shop","doc":"Other.",`+was[len(`{"type":"record","name":"O","namespace":"shop","doc":"An order.",`):])
	if err != nil || len(docs) != 1 || !DocsOnly(docs) {
		t.Errorf("%v, %v", docs, err)
	}
	if same, err := Diff(was, was); err != nil || len(same) > 0 || !SameName(was, now) {
		t.Errorf("%v, %v", same, err)
	}
}
