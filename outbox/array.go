package outbox

// array builds a Postgres array literal of one dimension: {"a","b\"c",NULL}.
// Every element is quoted, so only the quote and the backslash need escaping.
type array struct{ buf []byte }

func (a *array) next() {
	if len(a.buf) == 0 {
		a.buf = append(a.buf, '{')
		return
	}
	a.buf = append(a.buf, ',')
}

func (a *array) add(s string) { a.addBytes([]byte(s)) }

func (a *array) addBytes(s []byte) {
	a.next()
	a.buf = append(a.buf, '"')
	for _, c := range s {
		if c == '"' || c == '\\' {
			a.buf = append(a.buf, '\\')
		}
		a.buf = append(a.buf, c)
	}
	a.buf = append(a.buf, '"')
}

// addOrNull adds NULL for the empty string.
func (a *array) addOrNull(s string) {
	if s == "" {
		a.next()
		a.buf = append(a.buf, "NULL"...)
		return
	}
	a.add(s)
}

// String closes the array; nothing may be added afterwards.
func (a *array) String() string {
	if len(a.buf) == 0 {
		return "{}"
	}
	return string(append(a.buf, '}'))
}
