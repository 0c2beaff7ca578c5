package claimcheck

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"hash"
	"io"
	"net/url"
	"strings"

	"gocloud.dev/blob"
)

// Header is the name of the record header that says what was claimed.
const Header = "claim_check"

// Kind says what of a record is in object storage.
type Kind uint8

// The kinds.
const (
	None    Kind = iota // the record is whole
	Payload             // its value is a Ref; the object is the value it would have had
	Fields              // some fields of it are a Ref each
)

// Of reads the value of the header (nil: there is none): the kind and, of
// Fields, the paths, as in data.corrected_text. A value it does not know is
// None.
func Of(header []byte) (kind Kind, fields []string) {
	if string(header) == "payload" {
		return Payload, nil
	}
	if list, ok := bytes.CutPrefix(header, []byte("fields:")); ok && len(list) > 0 {
		return Fields, strings.Split(string(list), ",")
	}
	return None, nil
}

// Ref is an ArtifactRef. Its tags are those of encoding/json and of the common
// Avro libraries.
type Ref struct {
	Type        string  `json:"type,omitempty" avro:"type"`
	URI         string  `json:"uri" avro:"uri"`
	Bytes       int64   `json:"bytes" avro:"bytes"`
	ContentType string  `json:"content_type" avro:"content_type"` // of the object
	SHA256      string  `json:"sha256" avro:"sha256"`             // 64 lower case hexadecimal digits
	TTLSec      *int32  `json:"ttl_sec" avro:"ttl_sec"`           // how long the object is needed; nil: for ever
	Encryption  *string `json:"encryption" avro:"encryption"`
}

// ParseRef reads a reference in JSON.
func ParseRef(text []byte) (Ref, error) {
	var r Ref
	if err := json.Unmarshal(text, &r); err != nil {
		return r, fmt.Errorf("claimcheck: the text is no reference: %w", err)
	}
	if r.URI == "" || len(r.SHA256) != 2*sha256.Size || r.Bytes < 0 {
		return r, errors.New("claimcheck: the text is no reference: it lacks uri, bytes or sha256")
	}
	return r, nil
}

// ErrMismatch says that an object is not what its reference says: it was cut,
// changed, or replaced.
var ErrMismatch = errors.New("the object is not what its reference says")

// Store reads the objects of one bucket. It is safe for concurrent use.
type Store struct {
	bucket *blob.Bucket
	base   string // what the URIs of its objects begin with, with a slash at its end
}

// Open opens the bucket of a gocloud.dev URL, as in s3://artifacts?region=…,
// whose driver the program has imported. base is where the references begin if
// the relay's configuration has claim_check.uri, else leave it out.
func Open(ctx context.Context, bucketURL string, base ...string) (*Store, error) {
	u, err := url.Parse(bucketURL)
	if err != nil {
		return nil, fmt.Errorf("claimcheck: %w", err)
	}
	b, err := blob.OpenBucket(ctx, bucketURL)
	if err != nil {
		return nil, fmt.Errorf("claimcheck: open %s://%s: %w", u.Scheme, u.Host, err)
	}
	from := (&url.URL{Scheme: u.Scheme, Host: u.Host, Path: u.Path}).String()
	if len(base) > 0 {
		from = base[0]
	}
	return Wrap(b, from), nil
}

// Wrap makes a Store of a bucket that is open already; base is where the URIs of
// its objects begin, as in s3://artifacts. Close closes the bucket.
func Wrap(b *blob.Bucket, base string) *Store {
	return &Store{b, strings.TrimRight(base, "/") + "/"}
}

// Close closes the bucket.
func (s *Store) Close() error { return s.bucket.Close() }

// key is the key of the object a URI names. A reference to another bucket is an
// error: who can write events must not choose what we read.
func (s *Store) key(uri string) (string, error) {
	key, ok := strings.CutPrefix(uri, s.base)
	if !ok || key == "" {
		return "", fmt.Errorf("claimcheck: %s is not in %s", uri, s.base)
	}
	return key, nil
}

// Fetch reads the whole object and verifies its length and SHA-256; an object
// that is longer than its reference says is not read to its end.
func (s *Store) Fetch(ctx context.Context, ref Ref) ([]byte, error) {
	r, err := s.Reader(ctx, ref)
	if err != nil {
		return nil, err
	}
	data, err := io.ReadAll(r)
	return data, errors.Join(err, r.Close())
}

// Reader streams the object. It verifies as it reads: instead of io.EOF, an
// object that is not what ref says ends in ErrMismatch, so what was read counts
// only once io.EOF came. Close it.
func (s *Store) Reader(ctx context.Context, ref Ref) (io.ReadCloser, error) {
	key, err := s.key(ref.URI)
	if err != nil {
		return nil, err
	}
	r, err := s.bucket.NewReader(ctx, key, nil)
	if err != nil {
		return nil, fmt.Errorf("claimcheck: read %s: %w", ref.URI, err)
	}
	return &reader{r: r, ref: ref, sum: sha256.New()}, nil
}

type reader struct {
	r   *blob.Reader
	ref Ref
	sum hash.Hash
	n   int64
}

func (r *reader) Read(p []byte) (int, error) {
	n, err := r.r.Read(p)
	r.sum.Write(p[:n]) // a hash never fails
	r.n += int64(n)
	switch {
	case r.n > r.ref.Bytes, errors.Is(err, io.EOF) && (r.n != r.ref.Bytes || hex.EncodeToString(r.sum.Sum(nil)) != r.ref.SHA256):
		return n, fmt.Errorf("claimcheck: %s: %w (%d bytes)", r.ref.URI, ErrMismatch, r.ref.Bytes)
	case err != nil && !errors.Is(err, io.EOF):
		return n, fmt.Errorf("claimcheck: read %s: %w", r.ref.URI, err)
	}
	return n, err
}

func (r *reader) Close() error { return r.r.Close() }

// Inline puts the objects of the named fields back into a JSON document: a
// string where the object is text, else the JSON it holds. fields are what Of
// returns.
func (s *Store) Inline(ctx context.Context, doc []byte, fields []string) ([]byte, error) {
	dec := json.NewDecoder(bytes.NewReader(doc))
	dec.UseNumber()
	var v any
	if err := dec.Decode(&v); err != nil {
		return nil, fmt.Errorf("claimcheck: the document is no JSON: %w", err)
	}
	for _, f := range fields {
		if err := s.inline(ctx, v, f); err != nil {
			return nil, err
		}
	}
	var out bytes.Buffer
	enc := json.NewEncoder(&out)
	enc.SetEscapeHTML(false)
	err := enc.Encode(v)
	return bytes.TrimSuffix(out.Bytes(), []byte("\n")), err
}

func (s *Store) inline(ctx context.Context, v any, path string) error {
	names := strings.Split(path, ".")
	for _, name := range names[:len(names)-1] {
		m, _ := v.(map[string]any)
		v = m[name]
	}
	m, _ := v.(map[string]any)
	last := names[len(names)-1]
	text, err := json.Marshal(m[last])
	if err != nil {
		return fmt.Errorf("claimcheck: field %s: %w", path, err)
	}
	ref, err := ParseRef(text)
	if err != nil {
		return fmt.Errorf("field %s: %w", path, err)
	}
	data, err := s.Fetch(ctx, ref)
	if err != nil {
		return fmt.Errorf("field %s: %w", path, err)
	}
	if ref.ContentType == "application/json" && json.Valid(data) {
		m[last] = json.RawMessage(data)
		return nil
	}
	m[last] = string(data)
	return nil
}
