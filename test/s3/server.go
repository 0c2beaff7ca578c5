package s3

import (
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/johannesboyne/gofakes3"
	"github.com/johannesboyne/gofakes3/backend/s3mem"
)

// Bucket is the bucket every server has.
const Bucket = "artifacts"

// Env are the variables a client of the server needs. It checks no signature,
// but clients sign.
func Env() []string {
	return []string{"AWS_ACCESS_KEY_ID=test", "AWS_SECRET_ACCESS_KEY=test", "AWS_REGION=us-east-1", "AWS_EC2_METADATA_DISABLED=true"}
}

// Server is one server.
type Server struct {
	t       testing.TB
	backend gofakes3.Backend
	addr    string
	handler http.Handler

	mu     sync.Mutex
	http   *http.Server // nil: down
	answer func(http.ResponseWriter, *http.Request) bool
	seen   []string
}

// New starts a server that ends with the test.
func New(t testing.TB) *Server {
	t.Helper()
	s := &Server{t: t, backend: s3mem.New(), addr: "127.0.0.1:0"}
	if err := s.backend.CreateBucket(Bucket); err != nil {
		t.Fatal(err)
	}
	s.handler = gofakes3.New(s.backend, gofakes3.WithLogger(gofakes3.DiscardLog())).Server()
	s.Up()
	t.Cleanup(s.Down)
	return s
}

// Up serves, at the address it had before.
func (s *Server) Up() {
	s.t.Helper()
	l, err := net.Listen("tcp", s.addr)
	if err != nil {
		s.t.Fatal(err)
	}
	s.addr = l.Addr().String()
	h := &http.Server{Handler: s}
	s.mu.Lock()
	s.http = h
	s.mu.Unlock()
	go func() {
		if err := h.Serve(l); !errors.Is(err, http.ErrServerClosed) {
			s.t.Error(err)
		}
	}()
}

// Down closes the port and every connection; what is stored stays.
func (s *Server) Down() {
	s.mu.Lock()
	h := s.http
	s.http = nil
	s.mu.Unlock()
	if h != nil {
		h.Close() // it was served until now
	}
}

// ServeHTTP answers as Answer says, else as S3 does.
func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	s.mu.Lock()
	answer := s.answer
	s.seen = append(s.seen, r.Method+" "+r.URL.Path)
	s.mu.Unlock()
	if answer == nil || !answer(w, r) {
		s.handler.ServeHTTP(w, r)
	}
}

// Answer gives requests to do first, which says whether it answered; nil ends
// that.
func (s *Server) Answer(do func(http.ResponseWriter, *http.Request) bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.answer = do
}

// Store answers a request as S3 does, from within Answer.
func (s *Server) Store(w http.ResponseWriter, r *http.Request) { s.handler.ServeHTTP(w, r) }

// Fails answers every request with an error of S3; an empty code ends that.
func (s *Server) Fails(status int, code string) {
	if code == "" {
		s.Answer(nil)
		return
	}
	s.Answer(func(w http.ResponseWriter, _ *http.Request) bool { Error(w, status, code); return true })
}

// Error writes an error as S3 does.
func Error(w http.ResponseWriter, status int, code string) {
	w.Header().Set("Content-Type", "application/xml")
	w.WriteHeader(status)
	fmt.Fprintf(w, `<?xml version="1.0"?><Error><Code>%s</Code><Message>as the test wants</Message></Error>`, code)
}

// Requests are the requests so far whose method and path hold text, as
// "PUT /artifacts/key".
func (s *Server) Requests(text string) []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.DeleteFunc(slices.Clone(s.seen), func(r string) bool { return !strings.Contains(r, text) })
}

// Addr is its host and port, Endpoint its URL.
func (s *Server) Addr() string { return s.addr }

// Endpoint is the server's URL.
func (s *Server) Endpoint() string { return "http://" + s.addr }

// URL is the bucket as gocloud.dev wants it.
func (s *Server) URL() string {
	return "s3://" + Bucket + "?region=us-east-1&use_path_style=true&endpoint=" + s.Endpoint()
}

// Keys are the keys of the objects below a prefix.
func (s *Server) Keys(prefix string) []string {
	s.t.Helper()
	list, err := s.backend.ListBucket(Bucket, &gofakes3.Prefix{HasPrefix: prefix != "", Prefix: prefix}, gofakes3.ListBucketPage{})
	if err != nil {
		s.t.Fatal(err)
	}
	var keys []string
	for _, c := range list.Contents {
		keys = append(keys, c.Key)
	}
	return keys
}

// Object is the content of an object and its media type.
func (s *Server) Object(key string) (data []byte, contentType string) {
	s.t.Helper()
	o, err := s.backend.GetObject(Bucket, key, nil)
	if err != nil {
		s.t.Fatalf("object %s: %v", key, err)
	}
	defer o.Contents.Close() // it is in memory
	data, err = io.ReadAll(o.Contents)
	if err != nil {
		s.t.Fatal(err)
	}
	return data, o.Metadata["Content-Type"]
}
