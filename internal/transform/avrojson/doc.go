// Package avrojson turns JSON documents into Avro binary by a program compiled
// once from the schema. One pass over the text, straight into the caller's
// buffer, no map[string]any, no allocation per document in steady state.
//
//	prog, err := avrojson.Compile(schema) // immutable, share it
//	enc := prog.NewEncoder()              // one per goroutine
//	dst, err = enc.Append(dst, payload)   // appends the Avro body
//
// What the output is: the Avro 1.12 binary encoding of the one value; arrays
// and maps are one block with a positive count, as Java's encoder writes them.
//
// # JSON
//
// The text is RFC 8259 to the letter and valid UTF-8. Refused: a byte order
// mark, control characters in strings, lone surrogates, leading zeros, NaN and
// infinities, a key given twice (compared after unescaping), anything after the
// value, more than 512 levels of objects and arrays.
//
// # Types
//
//	null, boolean   the literals
//	int, long       a number that is an integer and in range; 1.0 and 1e3 are
//	float, double   any number, correctly rounded; one too large is refused
//	string          a string
//	bytes, fixed    a string of code points 0 to 255, one byte each (the Avro
//	                JSON encoding); with the attribute "encoding": "base64"
//	                (RFC 4648 section 4, padded) or "hex" in that form
//	enum            a string that is a symbol (its default is for readers)
//	array           an array
//	map             an object
//	record          an object; fields in any order. A field that is not there
//	                takes its default, without one it is an error, also when
//	                its type is nullable. An unknown field is an error; aliases
//	                are for readers
//
// # Logical types
//
// Each also takes the number of its underlying int or long, where it has one.
//
//	decimal            a number or a string that holds one; exact: more digits
//	                   after the point than scale, or more than precision in all,
//	                   are refused unless zero. Bytes are the shortest two's
//	                   complement, as Java's; fixed is sign-extended
//	uuid               8-4-4-4-12 hexadecimal digits. On a string it is kept as
//	                   written; on fixed(16) it is the 16 bytes
//	date               "2024-01-31"
//	time-*             "10:15:30" with any fraction; 0 <= number < one day
//	timestamp-*        RFC 3339 with any offset; T may be t or a blank
//	local-timestamp-*  the same without an offset
//	duration           ISO 8601 without a sign: "P1Y2M3W4DT5H6M7.089S"; a year is
//	                   12 months, a week 7 days, clock parts are milliseconds
//
// Times are millis, micros or nanos (timestamps only). Digits of a fraction that
// are finer than the unit are cut off, as other Avro libraries do: clocks give
// more digits than schemas ask for. A duration's are refused.
// A logical type that is unknown is ignored, as Avro demands. A known one on the
// wrong type or with wrong parameters is an error of Compile: ignoring it would
// encode something else than its author meant.
//
// # Unions
//
// Branches are tried in the order of the schema; the first that accepts the
// value as a whole, constraints and nested values included, is taken. So
// ["int","double"] encodes 1.0 as int, ["bytes","string"] encodes "a" as bytes.
// Only if none accepts it, and the value is an object with exactly one member
// whose name is the type name of a branch other than null (full name for named
// types), the member's value is encoded with that branch (the Avro JSON
// encoding). Branches that fail late cost time; when failed attempts have read
// 64 times the document, it is refused as too ambiguous.
//
// # Constraints
//
// Attributes of a field or of a type object; they hold for what is encoded:
//
//	minimum, maximum, exclusiveMinimum, exclusiveMaximum
//	    on int, long, float, double, decimal. Exact; on float and double both
//	    sides are rounded to the type. On logical types the number is in the
//	    unit of the underlying int or long.
//	pattern
//	    on string: RE2, found anywhere unless it anchors itself.
//	minLength, maxLength
//	    on string in code points, on bytes in bytes, on array and map in elements.
//
// On a field whose type is a union each holds for every branch it makes sense
// for. One that makes sense for none, that is given on the field and again on
// its type, that no value could meet, or a broken expression is an error of
// Compile. Defaults are held to them too.
//
// # Defaults
//
// They are in the form the Avro specification gives, for the underlying type
// (a date's default is a number, bytes are code points 0 to 255), and match the
// first branch of a union, because that is what every Avro library reads.
package avrojson
