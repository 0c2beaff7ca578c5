package avrojson

import (
	"encoding/base64"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"math"
	"math/big"
	"reflect"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"
)

// The reference's scalars, logical types and constraints.

func rat(v any) (*big.Rat, bool) {
	num, ok := v.(json.Number)
	if !ok {
		return nil, false
	}
	return new(big.Rat).SetString(string(num))
}

func plainValue(kind, encoding string, m map[string]any, v any) (any, error) {
	s, isText := v.(string)
	switch kind {
	case "null":
		if v == nil {
			return nil, nil
		}
	case "boolean":
		if b, ok := v.(bool); ok {
			return b, nil
		}
	case "int", "long":
		x, ok := rat(v)
		if !ok || !x.IsInt() || !x.Num().IsInt64() {
			break
		}
		i := x.Num().Int64()
		if kind == "long" {
			return i, nil
		}
		if i >= math.MinInt32 && i <= math.MaxInt32 {
			return int(i), nil
		}
	case "double":
		if num, ok := v.(json.Number); ok {
			f, err := strconv.ParseFloat(string(num), 64)
			return f, err
		}
	case "float":
		if num, ok := v.(json.Number); ok {
			f, err := strconv.ParseFloat(string(num), 32)
			return float32(f), err
		}
	case "string":
		if isText {
			return s, nil
		}
	case "enum":
		if isText && slices.Contains(m["symbols"].([]any), any(s)) {
			return s, nil
		}
	case "bytes", "fixed":
		if !isText {
			break
		}
		b, err := textBytes(s, encoding)
		if err != nil || kind == "bytes" {
			return b, err
		}
		return fixedArray(m, b)
	}
	return nil, refuse("%v is no %s", v, kind)
}

func fixedArray(m map[string]any, b []byte) (any, error) {
	size, _ := m["size"].(json.Number).Int64()
	if int64(len(b)) != size {
		return nil, refuse("size")
	}
	a := reflect.New(reflect.ArrayOf(len(b), reflect.TypeFor[byte]())).Elem()
	reflect.Copy(a, reflect.ValueOf(b))
	return a.Interface(), nil
}

var base64Text = regexp.MustCompile(`^([A-Za-z0-9+/]{4})*([A-Za-z0-9+/]{2}==|[A-Za-z0-9+/]{3}=)?$`)

func textBytes(s, encoding string) ([]byte, error) {
	switch encoding {
	case "hex":
		return hex.DecodeString(s)
	case "base64":
		if !base64Text.MatchString(s) {
			return nil, refuse("base64")
		}
		return base64.StdEncoding.Strict().DecodeString(s)
	}
	b := []byte{}
	for _, r := range s {
		if r > 255 {
			return nil, refuse("code point")
		}
		b = append(b, byte(r))
	}
	return b, nil
}

var (
	jsonNumber   = regexp.MustCompile(`^-?(0|[1-9][0-9]*)(\.[0-9]+)?([eE][+-]?[0-9]+)?$`)
	uuidText     = regexp.MustCompile(`^[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}$`)
	dateText     = regexp.MustCompile(`^\d{4}-\d\d-\d\d$`)
	clockText    = regexp.MustCompile(`^\d\d:\d\d:\d\d(\.\d+)?$`)
	stampText    = regexp.MustCompile(`^(\d{4}-\d\d-\d\d)[Tt ](\d\d:\d\d:\d\d)(?:\.(\d+))?([Zz]|[+-]\d\d:\d\d)$`)
	localText    = regexp.MustCompile(`^(\d{4}-\d\d-\d\d)[Tt ](\d\d:\d\d:\d\d)(?:\.(\d+))?$`)
	durationText = regexp.MustCompile(`^P(?:(\d+)Y)?(?:(\d+)M)?(?:(\d+)W)?(?:(\d+)D)?(T(?:(\d+)H)?(?:(\d+)M)?(?:(\d+)(?:\.(\d{1,3})0*)?S)?)?$`)
)

func logicalValue(kind, logical string, m map[string]any, v any) (any, error) {
	s, isText := v.(string)
	switch logical {
	case "decimal":
		return decimalValue(kind, m, v)
	case "uuid":
		if !isText || !uuidText.MatchString(s) {
			return nil, refuse("uuid")
		}
		if kind == "string" {
			return s, nil
		}
		b, err := hex.DecodeString(strings.ReplaceAll(s, "-", ""))
		if err != nil {
			return nil, err
		}
		return fixedArray(m, b)
	case "duration":
		if !isText {
			return nil, refuse("duration")
		}
		b, err := durationBytes(s)
		if err != nil {
			return nil, err
		}
		return fixedArray(m, b)
	}
	var n any
	var err error
	if isText {
		var i int64
		if i, err = timeValue(logical, s); err == nil {
			n, err = plainValue(kind, "", m, json.Number(strconv.FormatInt(i, 10)))
		}
	} else {
		n, err = plainValue(kind, "", m, v)
	}
	if err == nil && strings.HasPrefix(logical, "time-") {
		i := reflect.ValueOf(n).Int()
		if i < 0 || i >= 86400*unitsOf(logical) {
			return nil, refuse("time of day")
		}
	}
	return n, err
}

func unitsOf(logical string) int64 {
	switch logical[strings.LastIndexByte(logical, '-')+1:] {
	case "millis":
		return 1000
	case "micros":
		return 1000000
	}
	return 1000000000
}

func timeValue(logical, s string) (int64, error) {
	if logical == "date" {
		t, err := time.Parse("2006-01-02", s)
		if err != nil || !dateText.MatchString(s) {
			return 0, refuse("date")
		}
		return (t.Unix() - time.Date(1970, 1, 1, 0, 0, 0, 0, time.UTC).Unix()) / 86400, nil
	}
	unit := unitsOf(logical)
	if strings.HasPrefix(logical, "time-") {
		if !clockText.MatchString(s) {
			return 0, refuse("clock")
		}
		clock, frac, _ := strings.Cut(s, ".")
		t, err := time.Parse("15:04:05", clock)
		if err != nil {
			return 0, err
		}
		return int64(t.Hour()*3600+t.Minute()*60+t.Second())*unit + fraction(frac, unit), nil
	}
	re := localText
	if strings.HasPrefix(logical, "timestamp-") {
		re = stampText
	}
	g := re.FindStringSubmatch(s)
	if g == nil {
		return 0, refuse("timestamp")
	}
	t, err := time.Parse("2006-01-02T15:04:05", g[1]+"T"+g[2])
	if err != nil {
		return 0, err
	}
	sec := t.Unix()
	if len(g) > 4 && g[4] != "Z" && g[4] != "z" {
		h, _ := strconv.Atoi(g[4][1:3])
		mi, _ := strconv.Atoi(g[4][4:])
		if h > 23 || mi > 59 {
			return 0, refuse("offset")
		}
		off := int64(h*3600 + mi*60)
		if g[4][0] == '-' {
			off = -off
		}
		sec -= off
	}
	n := new(big.Int).Mul(big.NewInt(sec), big.NewInt(unit))
	n.Add(n, big.NewInt(fraction(g[3], unit)))
	if !n.IsInt64() {
		return 0, refuse("range")
	}
	return n.Int64(), nil
}

func fraction(digits string, unit int64) int64 {
	width := len(strconv.FormatInt(unit, 10)) - 1
	n, _ := strconv.ParseInt((digits + strings.Repeat("0", width))[:width], 10, 64)
	return n
}

func durationBytes(s string) ([]byte, error) {
	g := durationText.FindStringSubmatch(s)
	if g == nil || s == "P" || strings.HasSuffix(s, "T") {
		return nil, refuse("duration")
	}
	num := func(i int) *big.Int {
		n, _ := new(big.Int).SetString("0"+g[i], 10) // digits only
		return n
	}
	sum := func(pairs ...int64) *big.Int {
		n := new(big.Int)
		for i := 0; i < len(pairs); i += 2 {
			n.Add(n, new(big.Int).Mul(num(int(pairs[i])), big.NewInt(pairs[i+1])))
		}
		return n
	}
	ms := sum(6, 3600000, 7, 60000, 8, 1000)
	ms.Add(ms, big.NewInt(fraction(g[9], 1000)))
	var b []byte
	for _, n := range []*big.Int{sum(1, 12, 2, 1), sum(3, 7, 4, 1), ms} {
		if n.BitLen() > 32 {
			return nil, refuse("duration")
		}
		b = binary.LittleEndian.AppendUint32(b, uint32(n.Uint64()))
	}
	return b, nil
}

func decimalValue(kind string, m map[string]any, v any) (any, error) {
	if s, ok := v.(string); ok && jsonNumber.MatchString(s) {
		v = json.Number(s)
	}
	x, ok := rat(v)
	if !ok {
		return nil, refuse("decimal")
	}
	scale := int64(0)
	if raw, ok := m["scale"].(json.Number); ok {
		scale, _ = raw.Int64()
	}
	precision, _ := m["precision"].(json.Number).Int64()
	x.Mul(x, new(big.Rat).SetInt(new(big.Int).Exp(big.NewInt(10), big.NewInt(scale), nil)))
	if !x.IsInt() || len(new(big.Int).Abs(x.Num()).String()) > int(precision) {
		return nil, refuse("decimal")
	}
	n := x.Num()
	bits := n.BitLen()
	if n.Sign() < 0 {
		bits = new(big.Int).Not(n).BitLen()
	}
	size := int64(bits/8 + 1)
	if kind == "fixed" {
		size, _ = m["size"].(json.Number).Int64()
	}
	u := new(big.Int).Mod(n, new(big.Int).Lsh(big.NewInt(1), uint(8*size)))
	b := u.FillBytes(make([]byte, size))
	if kind == "fixed" {
		return fixedArray(m, b)
	}
	return b, nil
}

// checkAttrs checks the constraint attributes in a against the value n.
func checkAttrs(a map[string]any, kind, logical string, m map[string]any, n any) error {
	for _, name := range []string{"minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum"} {
		b, ok := rat(a[name])
		x := numeric(kind, logical, m, n)
		if !ok || x == nil {
			continue
		}
		switch kind {
		case "double":
			f, _ := b.Float64()
			b.SetFloat64(f)
		case "float":
			f, _ := b.Float32()
			b.SetFloat64(float64(f))
		}
		c := x.Cmp(b)
		if name == "minimum" && c < 0 || name == "maximum" && c > 0 ||
			name == "exclusiveMinimum" && c <= 0 || name == "exclusiveMaximum" && c >= 0 {
			return refuse("%s", name)
		}
	}
	if p, ok := a["pattern"].(string); ok && kind == "string" && !regexp.MustCompile(p).MatchString(n.(string)) {
		return refuse("pattern")
	}
	size := -1
	switch v := n.(type) {
	case string:
		if kind == "string" {
			size = utf8.RuneCountInString(v)
		}
	case []byte:
		if logical == "" {
			size = len(v)
		}
	case []any:
		size = len(v)
	case *object:
		size = len(v.keys)
	}
	for _, name := range []string{"minLength", "maxLength"} {
		if raw, ok := a[name].(json.Number); ok && size >= 0 {
			limit, _ := raw.Int64()
			if name == "minLength" && int64(size) < limit || name == "maxLength" && int64(size) > limit {
				return refuse("%s", name)
			}
		}
	}
	return nil
}

// numeric is the value a range attribute is compared with, nil if n is no number.
func numeric(kind, logical string, m map[string]any, n any) *big.Rat {
	switch v := n.(type) {
	case int:
		return new(big.Rat).SetInt64(int64(v))
	case int64:
		return new(big.Rat).SetInt64(v)
	case float32:
		return new(big.Rat).SetFloat64(float64(v))
	case float64:
		return new(big.Rat).SetFloat64(v)
	}
	if logical != "decimal" {
		return nil
	}
	value := reflect.ValueOf(n)
	x := new(big.Int)
	for i := range value.Len() {
		x.Or(x.Lsh(x, 8), big.NewInt(int64(value.Index(i).Uint())))
	}
	if value.Index(0).Uint() >= 128 {
		x.Sub(x, new(big.Int).Lsh(big.NewInt(1), uint(8*value.Len())))
	}
	scale := int64(0)
	if raw, ok := m["scale"].(json.Number); ok {
		scale, _ = raw.Int64()
	}
	return new(big.Rat).SetFrac(x, new(big.Int).Exp(big.NewInt(10), big.NewInt(scale), nil))
}
