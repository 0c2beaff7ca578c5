package avrojson

import (
	"encoding/hex"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
)

func TestTypes(t *testing.T) {
	t.Parallel()
	const dec = `{"type":"bytes","logicalType":"decimal","precision":6,"scale":2}`
	const long = `{"type":"bytes","logicalType":"decimal","precision":60,"scale":20}`
	tests := []struct{ schema, doc, want string }{ // want: hexadecimal
		{`"null"`, ` null `, ``},
		{`"boolean"`, `true`, `01`},
		{`"boolean"`, `false`, `00`},
		{`"int"`, `0`, `00`},
		{`"int"`, `-0`, `00`},
		{`"int"`, `-2147483648`, `ffffffff0f`},
		{`"int"`, `1.50e2`, `ac02`},
		{`"long"`, `9223372036854775807`, `feffffffffffffffff01`},
		{`"long"`, `-9223372036854775808.0`, `ffffffffffffffffff01`},
		{`"long"`, `92233720368547758070e-1`, `feffffffffffffffff01`},
		{`"float"`, `0.1`, `cdcccc3d`},
		{`"float"`, `1.00000017881393432617187499`, `0100803f`}, // by way of a double it would be 0200803f
		{`"double"`, `-0`, `0000000000000080`},
		{`"double"`, `0.1`, `9a9999999999b93f`},
		{`"double"`, `9007199254740993`, `0000000000004043`},
		{`"double"`, `1e-400`, `0000000000000000`},
		{`"string"`, `"a\"\\\/\b\f\n\r\té€😀"`, `2461225c2f080c0a0d09c3a9e282acf09f9880`},
		{`"string"`, `"\ud83d\ude00\u0000"`, `0af09f988000`},
		{`"bytes"`, `"\u0000ÿ€"`, ``},
		{`"bytes"`, `"\u0000ÿ\u0080a"`, `0800ff8061`},
		{`{"type":"bytes","encoding":"base64"}`, `"AP+A"`, `0600ff80`},
		{`{"type":"bytes","encoding":"base64"}`, `"/w=="`, `02ff`},
		{`{"type":"bytes","encoding":"hex"}`, `"00fF"`, `0400ff`},
		{`{"type":"fixed","name":"F","size":2}`, `"ÿa"`, `ff61`},
		{`{"type":"fixed","name":"F","size":0}`, `""`, ``},
		{`{"type":"fixed","name":"F","size":2,"encoding":"hex"}`, `"beef"`, `beef`},
		{`{"type":"enum","name":"E","symbols":["A","B"]}`, `"\u0042"`, `02`},
		{`{"type":"array","items":"int"}`, `[]`, `00`},
		{`{"type":"array","items":"int"}`, ` [ 1 , 2 ] `, `04020400`},
		{`{"type":"array","items":"null"}`, `[` + strings.Repeat("null,", 63) + `null]`, `800100`},
		{`{"type":"map","values":"int"}`, `{}`, `00`},
		{`{"type":"map","values":"int"}`, `{"b":1,"a":2}`, `0402620202610400`},
		{`{"type":"record","name":"R","fields":[]}`, `{ }`, ``},
		{`["null","int"]`, `null`, `00`},
		{`["int","null"]`, `null`, `02`},
		{`["null","int"]`, `{"int":1}`, `0202`},
		{`["int","double"]`, `1.0`, `0002`},
		{`["double","int"]`, `1`, `00000000000000f03f`},
		{`["bytes","string"]`, `"a"`, `000261`},
		{`["bytes","string"]`, `"€"`, `0206e282ac`},
		{`["bytes","string"]`, `{"string":"a"}`, `020261`},
		{`[{"type":"map","values":"int"},"int"]`, `{"int":1}`, `000206696e740200`}, // plain goes first
		{`[{"type":"int","maximum":5},"long"]`, `6`, `020c`},
		{`["null",{"type":"long","logicalType":"timestamp-millis"},"string"]`, `"noon"`, `04086e6f6f6e`},
		{dec, `12.34`, `0404d2`},
		{dec, `"-12.3400"`, `04fb2e`},
		{dec, `0`, `0200`},
		{dec, `-0.00`, `0200`},
		{dec, `-1.28`, `0280`},
		{dec, `1.28`, `040080`},
		{dec, `1e3`, `060186a0`},
		{long, `"1234567890123456789012345678901234567890.12345678901234567890"`, `3213aaf504e4bc1e62173f87a4378c37b49c8ccff196ce3f0ad2`},
		{`{"type":"fixed","name":"D","size":4,"logicalType":"decimal","precision":9,"scale":1}`, `-0.1`, `ffffffff`},
		{`{"type":"string","logicalType":"uuid"}`, `"7F1D2C36-0e5b-4b7a-9a55-6f0c8f1f2b11"`, `48` + hex.EncodeToString([]byte("7F1D2C36-0e5b-4b7a-9a55-6f0c8f1f2b11"))},
		{`{"type":"fixed","name":"U","size":16,"logicalType":"uuid"}`, `"7F1D2C36-0e5b-4b7a-9a55-6f0c8f1f2b11"`, `7f1d2c360e5b4b7a9a556f0c8f1f2b11`},
		{`{"type":"int","logicalType":"date"}`, `"1970-01-02"`, `02`},
		{`{"type":"int","logicalType":"date"}`, `"1969-12-31"`, `01`},
		{`{"type":"int","logicalType":"date"}`, `19753`, `d2b402`},
		{`{"type":"int","logicalType":"time-millis"}`, `"00:00:01.0019"`, `d20f`},
		{`{"type":"long","logicalType":"time-micros"}`, `"23:59:59.999999"`, `feffbadd8305`},
		{`{"type":"long","logicalType":"timestamp-millis"}`, `"1970-01-01T01:00:00.001+01:00"`, `02`},
		{`{"type":"long","logicalType":"timestamp-micros"}`, `"1969-12-31 23:59:59.9999999z"`, `01`},
		{`{"type":"long","logicalType":"timestamp-nanos"}`, `"1970-01-01T00:00:00.000000001Z"`, `02`},
		{`{"type":"long","logicalType":"timestamp-nanos"}`, `"1677-09-21T00:12:43.145224192Z"`, `ffffffffffffffffff01`},
		{`{"type":"long","logicalType":"timestamp-micros"}`, `-1`, `01`},
		{`{"type":"long","logicalType":"local-timestamp-millis"}`, `"1970-01-01T00:00:00.001"`, `02`},
		{`{"type":"long","logicalType":"local-timestamp-micros"}`, `"1970-01-01T00:00:00.000001"`, `02`},
		{`{"type":"long","logicalType":"local-timestamp-nanos"}`, `"1970-01-01T00:00:00.000000001"`, `02`},
		{`{"type":"fixed","name":"P","size":12,"logicalType":"duration"}`, `"P1Y2M1W3DT1H1M1.5S"`, `0e0000000a000000bcde3700`},
		{`{"type":"int","logicalType":"unheard-of"}`, `1`, `02`},
	}
	for _, tt := range tests {
		got, err := mustCompile(t, tt.schema).NewEncoder().Append(nil, []byte(tt.doc))
		if strings.Contains(tt.doc, `\u0000ÿ€`) {
			if err == nil {
				t.Errorf("%s %s: accepted", tt.schema, tt.doc)
			}
			continue
		}
		if err != nil || hex.EncodeToString(got) != tt.want {
			t.Errorf("%s %s: %x, %v; want %s", tt.schema, tt.doc, got, err, tt.want)
		}
	}
}

func TestRecords(t *testing.T) {
	t.Parallel()
	const schema = `{"type":"record","name":"R","fields":[
		{"name":"a","type":"int"},
		{"name":"b","type":"string","default":"x"},
		{"name":"c","type":["null","R"],"default":null},
		{"name":"d","type":"null"},
		{"name":"e","type":{"type":"array","items":"int"},"default":[7]}]}`
	e := mustCompile(t, schema).NewEncoder()
	for range 2 {
		for _, tt := range []struct{ doc, want string }{
			{`{"a":1,"b":"y","c":null,"d":null,"e":[]}`, `020279000` + `0`},
			{`{"a":1,"d":null}`, `02027800020e00`},
			{`{"d":null,"a":1}`, `02027800020e00`},
			{`{"e":[1],"d":null,"c":null,"b":"","a":1}`, `020000020200`},
			{`{"a":1,"c":{"d":null,"e":[],"a":2},"d":null,"b":"zz"}`, `02047a7a020402780000020e00`},
			{`{"\u0061":1,"d":null}`, `02027800020e00`},
		} {
			got, err := e.Append([]byte{0xee}, []byte(tt.doc))
			if err != nil || hex.EncodeToString(got) != "ee"+tt.want {
				t.Errorf("%s: %x, %v; want %s", tt.doc, got, err, tt.want)
			}
		}
	}
}

func TestErrors(t *testing.T) {
	t.Parallel()
	const result = `{"type":"record","name":"EssayResultV1","namespace":"huleedu.events","fields":[
		{"name":"score","type":"double","minimum":0,"maximum":1,"default":0},
		{"name":"grade","type":"string","pattern":"^[A-F]$","default":"A"},
		{"name":"label","type":{"type":"enum","name":"Label","symbols":["HIGH","MID","LOW"]},"default":"LOW"},
		{"name":"rank","type":["null","int"],"exclusiveMinimum":0,"default":null},
		{"name":"sub","type":{"type":"array","items":"EssayResultV1"},"default":[]},
		{"name":"meta","type":{"type":"map","values":"long"},"default":{}},
		{"name":"must","type":"boolean"}]}`
	const two = `[{"type":"record","name":"A","fields":[{"name":"x","type":"int"}]},{"type":"record","name":"B","fields":[{"name":"x","type":"string"},{"name":"y","type":"int"}]}]`
	const dec = `{"type":"bytes","logicalType":"decimal","precision":4,"scale":2,"minimum":-1.005,"exclusiveMaximum":50}`
	tests := []struct{ schema, doc, want string }{
		{result, `{"score":1.2}`, `score: 1.2 > maximum 1`},
		{result, `{"score":-1e-3}`, `score: -1e-3 < minimum 0`},
		{result, `{"sub":[{"must":true},{"score" : 1.2 }]}`, `sub[1].score: 1.2 > maximum 1`},
		{result, `{"label":"HIHG"}`, `label: "HIHG" is not one of HIGH, MID, LOW`},
		{result, `{"label":5}`, `label: 5 is not one of HIGH, MID, LOW`},
		{result, `{"rank":0}`, `rank: 0 <= exclusiveMinimum 0`},
		{result, `{"rank":"x"}`, `rank: "x" is not one of [null, int]`},
		{result, `{"score":1}`, `must: missing, and the schema gives no default`},
		{result, `{"sub":[{}],"must":true}`, `sub[0].must: missing, and the schema gives no default`},
		{result, `{"foo":1}`, `foo: not a field of huleedu.events.EssayResultV1`},
		{result, `{"f\u0020o":1}`, `["f o"]: not a field of huleedu.events.EssayResultV1`},
		{result, `{"sub":[{"foo":1}]}`, `sub[0].foo: not a field of huleedu.events.EssayResultV1`},
		{result, `{"score":1,"score":1}`, `score: given twice`},
		{result, `{"must":true,"score":1,"must":true}`, `must: given twice`},
		{result, `{"meta":{"a b":1,"x":2,"a\u0020b":3}}`, `meta["a b"]: given twice`},
		{result, `{"meta":{"a b":"x"}}`, `meta["a b"]: "x" is not a long`},
		{result, `{"grade":"Z"}`, `grade: "Z" does not match pattern ^[A-F]$`},
		{result, `{"must":null}`, `must: null is not a boolean`},
		{result, `{"must":tru}`, `must: not JSON: unexpected '}' at byte 11`},
		{result, `{"must":tru`, `must: not JSON: it ends too early, at byte 11`},
		{result, `[1]`, `$: [1] is not a huleedu.events.EssayResultV1 (a JSON object)`},
		{result, `{"must":true} x`, `$: not JSON: unexpected 'x' at byte 14`},
		{result, `{"must":true,}`, `$: not JSON: unexpected '}' at byte 13`},
		{result, `{"sub":[,]}`, `sub[0]: not JSON: unexpected ',' at byte 8`},
		{result, `{must:1}`, `$: not JSON: unexpected 'm' at byte 1`},
		{result, `{"must" true}`, `must: not JSON: unexpected 't' at byte 8`},
		{result, ``, `$: not JSON: empty`},
		{result, " \n", `$: not JSON: empty`},
		{result, "\xef\xbb\xbf{}", `$: not JSON: unexpected '\ufeff' at byte 0`},
		{result, "{\"grade\":\"A\xff\"}", `grade: not UTF-8 at byte 11`},
		{result, "\xff", `$: not JSON: unexpected byte 0xff at byte 0`},
		{result, `{"grade":"\ud800x"}`, `grade: not JSON: lone surrogate in an escape at byte 10`},
		{result, `{"grade":"\u12g4"}`, `grade: not JSON: broken \u escape at byte 10`},
		{result, `{"grade":"\x"}`, `grade: not JSON: unexpected 'x' at byte 11`},
		{result, "{\"grade\":\"a\nb\"}", `grade: not JSON: unexpected '\n' at byte 11`},
		{result, `{"grade":"abc`, `grade: not JSON: it ends too early, at byte 13`},
		{result, `{"grade":"` + strings.Repeat("é", 80) + `"}`, `grade: "` + strings.Repeat("é", 63) + `… does not match pattern ^[A-F]$`},
		{result, strings.Repeat(`{"sub":[`, 257), strings.TrimPrefix(strings.Repeat(".sub[0]", 256), ".") + `: more than 512 levels of objects and arrays`},
		{`"int"`, `2147483648`, `$: 2147483648 is outside of int (-2147483648 to 2147483647)`},
		{`"long"`, `1e19`, `$: 1e19 is outside of long (-9223372036854775808 to 9223372036854775807)`},
		{`{"type":"long","maximum":9223372036854775806}`, `9223372036854775807`, `$: 9223372036854775807 > maximum 9223372036854775806`},
		{`{"type":"long","exclusiveMaximum":1.5}`, `99999999999999999999`, `$: 99999999999999999999 >= exclusiveMaximum 1.5`},
		{`"int"`, `1.5`, `$: 1.5 is not an integer`},
		{`"int"`, `01`, `$: not JSON: unexpected '1' at byte 1`},
		{`"int"`, `-`, `$: not JSON: it ends too early, at byte 1`},
		{`"double"`, `1.`, `$: not JSON: it ends too early, at byte 2`},
		{`"double"`, `NaN`, `$: not JSON: unexpected 'N' at byte 0`},
		{`"int"`, `"1"`, `$: "1" is not an int`},
		{`"double"`, `1e400`, `$: 1e400 is too large for a double`},
		{`{"type":"array","items":"float"}`, `[1e39]`, `[0]: 1e39 is too large for a float`},
		{`"null"`, `0`, `$: 0 is not null`},
		{`"string"`, `{"a":[1,"}"]} `, `$: {"a":[1,"}"]} is not a string`},
		{`"bytes"`, `"€"`, `$: "€" has a code point over 255, which is no byte`},
		{`{"type":"bytes","encoding":"hex"}`, `"0g"`, `$: "0g" is not hexadecimal`},
		{`{"type":"bytes","encoding":"hex"}`, `"0"`, `$: "0" is not hexadecimal`},
		{`{"type":"bytes","encoding":"base64"}`, `"YR=="`, `$: "YR==" is not base64`},
		{`{"type":"bytes","encoding":"base64"}`, `"Y\nQ=="`, `$: "Y\nQ==" is not base64`},
		{`{"type":"fixed","name":"F","size":3}`, `"ab"`, `$: "ab" has 2 bytes, not 3`},
		{`{"type":"string","minLength":2}`, `"é"`, `$: "é" is shorter than minLength 2`},
		{`{"type":"string","maxLength":2}`, `"abc"`, `$: "abc" is longer than maxLength 2`},
		{`{"type":"bytes","maxLength":1}`, `"éé"`, `$: "éé" is longer than maxLength 1`},
		{`{"type":"array","items":"int","minLength":1}`, `[]`, `$: [] is shorter than minLength 1`},
		{`{"type":"map","values":"int","maxLength":1}`, `{"a":1,"b":2}`, `$: {"a":1,"b":2} is longer than maxLength 1`},
		{`["int","long"]`, `1e30`, `$: 1e30 fits no branch of [int, long]`},
		{two, `{"x":"s"}`, `y: missing, and the schema gives no default (the nearest branch of [A, B])`},
		{two, `{"x":true}`, `x: true is not an int (the nearest branch of [A, B])`},
		{two, `{"B":{"x":1}}`, `B.x: 1 is not a string`},
		{`["null","int"]`, `{"int":1,"null":null}`, `$: {"int":1,"null":null} is not one of [null, int]`},
		{`["null","int"]`, `{"int":"x"}`, `int: "x" is not an int`},
		{`["null","int"]`, `{"null":null}`, `$: {"null":null} is not one of [null, int]`},
		{`{"type":"string","logicalType":"uuid"}`, `"x"`, `$: "x" is not a UUID (8-4-4-4-12 hexadecimal digits)`},
		{`{"type":"int","logicalType":"date"}`, `"2023-02-29"`, `$: "2023-02-29" is not a date (YYYY-MM-DD or days since 1970)`},
		{`{"type":"int","logicalType":"time-millis"}`, `"24:00:00"`, `$: "24:00:00" is not a time of day (HH:MM:SS.fff or an integer)`},
		{`{"type":"int","logicalType":"time-millis"}`, `86400000`, `$: 86400000 is not a time of day`},
		{`{"type":"long","logicalType":"timestamp-micros"}`, `"2024-01-31T10:00:00"`, `$: "2024-01-31T10:00:00" is not a timestamp (RFC 3339 with an offset, or an integer)`},
		{`{"type":"long","logicalType":"timestamp-nanos"}`, `"2262-04-11T23:47:16.854775808Z"`, `$: "2262-04-11T23:47:16.854775808Z" is outside of long's range`},
		{`{"type":"long","logicalType":"local-timestamp-millis"}`, `"2024-01-31T10:00:00Z"`, `$: "2024-01-31T10:00:00Z" is not a local timestamp (YYYY-MM-DDTHH:MM:SS.fff without an offset, or an integer)`},
		{`{"type":"int","logicalType":"date","minimum":0}`, `"1969-12-31"`, `$: "1969-12-31" is outside of minimum 0`},
		{`{"type":"fixed","name":"P","size":12,"logicalType":"duration"}`, `"PT1.5H"`, `$: "PT1.5H" is not an ISO 8601 duration (as P1Y2M3DT4H5M6.789S)`},
		{`{"type":"fixed","name":"P","size":12,"logicalType":"duration"}`, `"P4294967296D"`, `$: "P4294967296D" is outside of P's range`},
		{dec, `0.001`, `$: 0.001 has more than 2 digits after the point`},
		{dec, `100`, `$: 100 has more than 4 digits (2 after the point)`},
		{dec, `-1.01`, `$: -1.01 < minimum -1.005`},
		{dec, `50`, `$: 50 >= exclusiveMaximum 50`},
		{dec, `"50.01"`, `$: "50.01" is outside of minimum -1.005, exclusiveMaximum 50`},
		{dec, `"x"`, `$: "x" is not a decimal number`},
		{dec, `"1 "`, `$: "1 " is not a decimal number`},
		{dec, `1e99999999999999999999`, `$: 1e99999999999999999999 has more than 4 digits (2 after the point)`},
	}
	for _, tt := range tests {
		p := mustCompile(t, tt.schema)
		old := []byte("old part")
		got, err := p.NewEncoder().Append(old[:3], []byte(tt.doc))
		if err == nil || err.Error() != tt.want {
			t.Errorf("%.100s\n got %v\nwant %s", tt.doc, err, tt.want)
		}
		var e *Error
		if !errors.As(err, &e) || string(got) != "old" {
			t.Errorf("%s: %T, dst %q", tt.doc, err, got)
		}
	}
}

// TestDepth goes one level too deep in every kind of level, and to the limit.
func TestDepth(t *testing.T) {
	t.Parallel()
	const rec = `{"type":"record","name":"R","fields":[{"name":"n","type":%s}]}`
	of := func(field, root string) string {
		return strings.Replace(root, "R", strings.Replace(rec, "%s", field, 1), 1)
	}
	tests := []struct{ schema, first, again, middle, last, end string }{ // first + again × 255 + middle: 512 levels
		{of(`["null","R"]`, `{"type":"array","items":R}`), `[`, `{"n":{"n":`, `{"n":null}`, `}}`, `]`},
		{of(`{"type":"array","items":"R"}`, `{"type":"array","items":R}`), `[`, `{"n":[`, `{"n":[]}`, `]}`, `]`},
		{of(`{"type":"map","values":"R"}`, `{"type":"map","values":R}`), `{"k":`, `{"n":{"k":`, `{"n":{}}`, `}}`, `}`},
		{of(`["R","null"]`, `["null",R]`), ``, `{"n":{"R":`, `{"n":null}`, `}}`, ``},
	}
	for _, tt := range tests {
		e := mustCompile(t, tt.schema).NewEncoder()
		doc := func(times int) []byte {
			return []byte(tt.first + strings.Repeat(tt.again, times) + tt.middle + strings.Repeat(tt.last, times) + tt.end)
		}
		if _, err := e.Append(nil, doc(254)); err != nil {
			t.Errorf("%.60s…: %v", doc(254), err)
		}
		for _, times := range []int{256, 257, 5000} {
			if _, err := e.Append(nil, doc(times)); err == nil || !strings.HasSuffix(err.Error(), "more than 512 levels of objects and arrays") {
				t.Errorf("%.60s…: %v", doc(times), err)
			}
		}
	}
}

// TestLarge goes beyond what is compared pairwise and what scratch is kept.
func TestLarge(t *testing.T) {
	t.Parallel()
	var members []string
	for i := range 40_000 {
		members = append(members, fmt.Sprintf(`"key %05d\u00e9":"%s\t"`, i, strings.Repeat("x", i%80)))
	}
	const schema = `{"type":"record","name":"t.R","fields":[{"name":"a","type":{"type":"map","values":"string"}},{"name":"b","type":"string"}]}`
	e := mustCompile(t, schema).NewEncoder()
	ref, err := newReference(schema)
	if err != nil {
		t.Fatal(err)
	}
	for range 2 {
		text := strings.Repeat(`\n`, maxScratch+1)
		out, err := e.Append(nil, []byte(`{"b":"`+text+`","a":{`+strings.Join(members, ",")+`}}`))
		if err != nil || len(out) < 2_000_000 {
			t.Errorf("%d bytes, %v", len(out), err)
		}
		checkBoth(t, e, ref, []byte(`{"b":"\n","a":{`+strings.Join(members[:500], ",")+`}}`))
	}
	twice := append(slices.Clone(members), members[30_000], members[7])
	_, err = e.Append(nil, []byte(`{"a":{`+strings.Join(twice, ",")+`}}`))
	if err == nil || err.Error() != `a["key 30000é"]: given twice` {
		t.Error(err)
	}
}

// TestAmbiguous holds the time for failing branches against documents made to
// cost 2^40 attempts and more.
func TestAmbiguous(t *testing.T) {
	t.Parallel()
	const (
		two  = `{"type":"record","name":"A","fields":[{"name":"n","type":["null","A",{"type":"record","name":"B","fields":[{"name":"n","type":["null","A","B"]}]}]}]}`
		wrap = `{"type":"record","name":"A","fields":[{"name":"A","type":["null","A"]}]}`
		one  = `{"type":"record","name":"A","fields":[{"name":"n","type":["null","A"]}]}`
	)
	for _, tt := range []struct{ schema, level, want string }{
		{two, `{"n":`, "too ambiguous"},
		{wrap, `{"A":`, "too ambiguous"},
		{one, `{"n":`, "n: 1 is not one of [null, A]"}, // deep, yet nothing is read twice
	} {
		for _, depth := range []int{40, 500} {
			doc := strings.Repeat(tt.level, depth) + `1` + strings.Repeat(`}`, depth)
			_, err := mustCompile(t, tt.schema).NewEncoder().Append(nil, []byte(doc))
			if err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("%d levels of %s: %v", depth, tt.level, err)
			}
		}
	}
}

// TestAfterErrors shows that an Encoder forgets what a refused document left.
func TestAfterErrors(t *testing.T) {
	t.Parallel()
	e := mustCompile(t, fuzzSchema).NewEncoder()
	want, err := mustCompile(t, fuzzSchema).NewEncoder().Append(nil, []byte(`{"m":{"a":true},"i":1}`))
	if err != nil {
		t.Fatal(err)
	}
	for _, bad := range []string{`{"m":{"a":true,"b":`, `{"i":1,"s":"x`, `{"n":{"n":{"i":"x"}}}`, `{"u":[{"m":{"x":1}}]}`} {
		if _, err := e.Append(nil, []byte(bad)); err == nil {
			t.Fatalf("%s: accepted", bad)
		}
		if got, err := e.Append(nil, []byte(`{"m":{"a":true},"i":1}`)); err != nil || string(got) != string(want) {
			t.Errorf("after %s: %x, %v", bad, got, err)
		}
	}
}
