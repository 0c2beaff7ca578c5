package claim

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/minio/minio-go/v7"
	"github.com/minio/minio-go/v7/pkg/credentials"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"
	"go.uber.org/goleak"
	"gocloud.dev/blob"
	"gocloud.dev/blob/memblob"

	"github.com/cdc-relay/cdc-relay/internal/event"
	"github.com/cdc-relay/cdc-relay/test/s3"
)

func TestMain(m *testing.M) {
	for _, v := range s3.Env() {
		name, value, _ := strings.Cut(v, "=")
		os.Setenv(name, value)
	}
	goleak.VerifyTestMain(m, goleak.IgnoreAnyFunction("net/http.(*persistConn).readLoop"), goleak.IgnoreAnyFunction("net/http.(*persistConn).writeLoop"))
}

func blobOf(data string) event.Blob {
	return event.Blob{Sum: sha256.Sum256([]byte(data)), Data: []byte(data), ContentType: "text/plain; charset=utf-8"}
}

func metrics(t *testing.T) *Metrics {
	t.Helper()
	m, err := NewMetrics(prometheus.NewRegistry())
	if err != nil {
		t.Fatal(err)
	}
	return m
}

func (m *Metrics) is(t *testing.T, stored, present float64) {
	t.Helper()
	s, p := testutil.ToFloat64(m.objects.WithLabelValues("stored")), testutil.ToFloat64(m.objects.WithLabelValues("present"))
	if s != stored || p != present {
		t.Errorf("%v stored, %v present, want %v and %v", s, p, stored, present)
	}
}

// memory is a Store whose bucket is in memory.
func memory(t *testing.T, o Options) (*Store, *blob.Bucket) {
	t.Helper()
	b := memblob.OpenBucket(nil)
	o.Bucket, o.Timeout = "mem://bucket", 10*time.Second
	s := New(o)
	s.open = func(context.Context, string) (*blob.Bucket, error) { return b, nil }
	t.Cleanup(func() { s.Close() })
	return s, b
}

func TestUpload(t *testing.T) {
	t.Parallel()
	s, b := memory(t, Options{Prefix: "a/b", Parallel: 3})
	m := metrics(t)
	var blobs []event.Blob
	for i := range 20 {
		blobs = append(blobs, blobOf(strings.Repeat(fmt.Sprint(i), 1000)))
	}
	blobs = append(blobs, blobs[3]) // the same content twice
	for range 2 {
		if err := s.Upload(t.Context(), blobs, m); err != nil {
			t.Fatal(err)
		}
	}
	m.is(t, 20, 20)
	for i := range blobs {
		got, err := b.ReadAll(t.Context(), "a/b/"+blobs[i].Key())
		if err != nil || !bytes.Equal(got, blobs[i].Data) {
			t.Errorf("%s: %v", blobs[i].Key(), err)
		}
	}
	attrs, err := b.Attributes(t.Context(), "a/b/"+blobs[0].Key())
	if err != nil || attrs.ContentType != "text/plain; charset=utf-8" {
		t.Errorf("%+v, %v", attrs, err)
	}
	n := 0
	for it := b.List(nil); ; n++ {
		if _, err := it.Next(t.Context()); err != nil {
			break
		}
	}
	if n != 20 {
		t.Errorf("%d objects, want 20", n)
	}
}

// An object that was cut, by whoever wrote it, is written anew.
func TestUploadMendsWhatIsCut(t *testing.T) {
	t.Parallel()
	s, b := memory(t, Options{})
	whole := blobOf("the whole text")
	if err := b.WriteAll(t.Context(), whole.Key(), []byte("the who"), nil); err != nil {
		t.Fatal(err)
	}
	m := metrics(t)
	if err := s.Upload(t.Context(), []event.Blob{whole}, m); err != nil {
		t.Fatal(err)
	}
	m.is(t, 1, 0)
	if got, err := b.ReadAll(t.Context(), whole.Key()); err != nil || string(got) != "the whole text" {
		t.Errorf("%q, %v", got, err)
	}
}

func TestBase(t *testing.T) {
	t.Parallel()
	for o, want := range map[Options]string{
		{Bucket: "s3://bucket?region=eu-north-1", Prefix: "p/q"}:         "s3://bucket/p/q",
		{Bucket: "gs://bucket"}:                                          "gs://bucket",
		{Bucket: "file:///var/lib/x/?create_dir=true", Prefix: "p"}:      "file:///var/lib/x/p",
		{Bucket: "azblob://c", URI: "https://a.example/c/", Prefix: "p"}: "https://a.example/c/p",
	} {
		if got := New(o).Base(); got != want {
			t.Errorf("%+v: %s", o, got)
		}
	}
}

// A folder is a bucket too; without it nothing starts.
func TestFolder(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	s := New(Options{Bucket: "file://" + dir + "?no_tmp_dir=true", Prefix: "p", Timeout: 10 * time.Second, Parallel: 2})
	defer s.Close()
	if err := s.Check(t.Context()); err != nil {
		t.Fatal(err)
	}
	m, b := metrics(t), blobOf("some text")
	for range 2 {
		if err := s.Upload(t.Context(), []event.Blob{b}, m); err != nil {
			t.Fatal(err)
		}
	}
	m.is(t, 1, 1)
	if got, err := os.ReadFile(filepath.Join(dir, "p", filepath.FromSlash(b.Key()))); err != nil || string(got) != "some text" {
		t.Errorf("%q, %v", got, err)
	}
	gone := New(Options{Bucket: "file://" + dir + "/none", Timeout: 10 * time.Second})
	if err := gone.Check(t.Context()); event.VerdictOf(err) != event.Refuse || !strings.Contains(err.Error(), "next: ") {
		t.Errorf("%v", err)
	}
}

// storeOf is a Store of a server's bucket.
func storeOf(srv *s3.Server, timeout time.Duration) *Store {
	return New(Options{Bucket: srv.URL(), Prefix: "events", Timeout: timeout, Parallel: 4})
}

// Over HTTP, in the protocol of S3; read back by another client than gocloud's.
func TestS3(t *testing.T) {
	t.Parallel()
	srv := s3.New(t)
	s := storeOf(srv, 20*time.Second)
	defer s.Close()
	if err := s.Check(t.Context()); err != nil {
		t.Fatal(err)
	}
	large := blobOf(strings.Repeat("0123456789abcdef", 1<<19)) // 8 MiB: one request or several
	blobs, m := []event.Blob{blobOf(strings.Repeat("é", 40_000)), large}, metrics(t)
	for range 2 {
		if err := s.Upload(t.Context(), blobs, m); err != nil {
			t.Fatal(err)
		}
	}
	m.is(t, 2, 2)
	c, err := minio.New(srv.Addr(), &minio.Options{Creds: credentials.NewStaticV4("test", "test", ""), Region: "us-east-1", BucketLookup: minio.BucketLookupPath})
	if err != nil {
		t.Fatal(err)
	}
	for i := range blobs {
		o, err := c.GetObject(t.Context(), s3.Bucket, "events/"+blobs[i].Key(), minio.GetObjectOptions{})
		if err != nil {
			t.Fatal(err)
		}
		defer o.Close()
		got, err := io.ReadAll(o)
		if err != nil || sha256.Sum256(got) != blobs[i].Sum {
			t.Errorf("object %d: %d bytes, %v", i, len(got), err)
		}
		if info, err := o.Stat(); err != nil || info.ContentType != "text/plain; charset=utf-8" {
			t.Errorf("object %d: %+v, %v", i, info.ContentType, err)
		}
	}
	if len(srv.Requests("PUT /artifacts/events/"+blobs[0].Key())) == 0 {
		t.Errorf("it did not go over HTTP: %v", srv.Requests(""))
	}
}

// A rule of the bucket deletes by age: what is old is written again if it is to
// live, what has no time to live is not.
func TestUploadRenews(t *testing.T) {
	t.Parallel()
	srv := s3.New(t)
	srv.Answer(func(w http.ResponseWriter, r *http.Request) bool {
		if r.Method != http.MethodHead {
			return false
		}
		w.Header().Set("Last-Modified", time.Now().Add(-25*time.Hour).UTC().Format(http.TimeFormat))
		w.Header().Set("Content-Length", "4")
		w.WriteHeader(http.StatusOK)
		return true
	})
	s, m := storeOf(srv, 20*time.Second), metrics(t)
	defer s.Close()
	kept, renewed := blobOf("kept"), blobOf("anew")
	renewed.TTL = time.Hour
	for range 2 {
		if err := s.Upload(t.Context(), []event.Blob{kept, renewed}, m); err != nil {
			t.Fatal(err)
		}
	}
	m.is(t, 3, 1)
}

// Storage that knows no conditional writes gets plain ones.
func TestUploadWithoutConditions(t *testing.T) {
	t.Parallel()
	srv := s3.New(t)
	srv.Answer(func(w http.ResponseWriter, r *http.Request) bool {
		if r.Method != http.MethodPut || r.Header.Get("If-None-Match") == "" {
			return false
		}
		s3.Error(w, http.StatusNotImplemented, "NotImplemented")
		return true
	})
	s, m := storeOf(srv, 20*time.Second), metrics(t)
	defer s.Close()
	for range 2 {
		if err := s.Upload(t.Context(), []event.Blob{blobOf("text")}, m); err != nil {
			t.Fatal(err)
		}
	}
	m.is(t, 2, 0)
}

// What is refused for good stops the pipeline and says what to do; what may pass
// restarts it.
func TestVerdicts(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		status int
		code   string
		want   event.Verdict
		next   string
	}{
		{http.StatusForbidden, "AccessDenied", event.Refuse, "let the relay's credentials write"},
		{http.StatusForbidden, "InvalidAccessKeyId", event.Refuse, "let the relay's credentials write"},
		{http.StatusForbidden, "SignatureDoesNotMatch", event.Refuse, "let the relay's credentials write"},
		{http.StatusNotFound, "NoSuchBucket", event.Refuse, "create the bucket"},
		{http.StatusBadRequest, "ExpiredToken", event.Restart, ""},
		{http.StatusForbidden, "TokenRefreshRequired", event.Restart, ""},
		{http.StatusServiceUnavailable, "SlowDown", event.Restart, ""},
		{http.StatusInternalServerError, "InternalError", event.Restart, ""},
	} {
		t.Run(c.code, func(t *testing.T) {
			t.Parallel()
			srv := s3.New(t)
			srv.Fails(c.status, c.code)
			s, m := storeOf(srv, 20*time.Second), metrics(t)
			defer s.Close()
			for _, err := range []error{s.Upload(t.Context(), []event.Blob{blobOf("text")}, m), s.Check(t.Context())} {
				if event.VerdictOf(err) != c.want || err == nil || !strings.Contains(err.Error(), "s3://artifacts") || !strings.Contains(err.Error(), c.next) {
					t.Errorf("verdict %v: %v", event.VerdictOf(err), err)
				}
			}
			reason := map[event.Verdict]string{event.Refuse: "refused", event.Restart: "unavailable"}[c.want]
			if n := testutil.ToFloat64(m.failures.WithLabelValues(reason)); n != 1 {
				t.Errorf("%v counted as %s", n, reason)
			}
		})
	}
}

// Storage that is down or does not answer is a restart, within the timeout.
func TestUploadInTime(t *testing.T) {
	t.Parallel()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	down := "http://" + l.Addr().String()
	l.Close()
	srv := s3.New(t)
	release := make(chan struct{})
	t.Cleanup(func() { close(release) })
	srv.Answer(func(_ http.ResponseWriter, r *http.Request) bool {
		select {
		case <-release:
		case <-r.Context().Done():
		}
		return true
	})
	for _, url := range []string{down, srv.Endpoint()} {
		s := New(Options{Bucket: "s3://artifacts?region=us-east-1&use_path_style=true&endpoint=" + url, Timeout: 2 * time.Second, Parallel: 1})
		m, begun := metrics(t), time.Now()
		err := s.Upload(t.Context(), []event.Blob{blobOf("a"), blobOf("b"), blobOf("c")}, m)
		if err == nil || event.VerdictOf(err) != event.Restart || time.Since(begun) > 15*time.Second {
			t.Errorf("after %s: %v", time.Since(begun), err)
		}
		s.Close()
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := storeOf(srv, time.Minute).Upload(ctx, []event.Blob{blobOf("a"), blobOf("b")}, metrics(t)); !errors.Is(err, context.Canceled) {
		t.Errorf("cancelled: %v", err)
	}
}
