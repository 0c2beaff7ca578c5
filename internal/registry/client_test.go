package registry_test

import (
	"context"
	"crypto/tls"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/cdc-relay/cdc-relay/internal/event"
	"github.com/cdc-relay/cdc-relay/internal/registry"
)

const text = `{"type":"enum","name":"E","symbols":["A"]}`

func want(topic string) registry.Want {
	return registry.Want{Subject: topic + "-value", Name: "E", Version: 1, Schema: text}
}

// answers serves one answer per request, the last one again and again.
type answers struct {
	mu   sync.Mutex
	list []string // "200 {json}"
	seen []string // "POST /subjects/t-value?query"
	head []http.Header
}

func (a *answers) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	a.mu.Lock()
	defer a.mu.Unlock()
	_, _ = io.Copy(io.Discard, r.Body)
	a.seen = append(a.seen, r.Method+" "+r.URL.RequestURI())
	a.head = append(a.head, r.Header)
	now := a.list[0]
	if len(a.list) > 1 {
		a.list = a.list[1:]
	}
	status, body, _ := strings.Cut(now, " ")
	code := 0
	_, _ = fmt.Sscan(status, &code)
	w.WriteHeader(code)
	_, _ = io.WriteString(w, body)
}

func serve(t *testing.T, list ...string) (*answers, string) {
	t.Helper()
	a := &answers{list: list}
	srv := httptest.NewServer(a)
	t.Cleanup(srv.Close)
	return a, srv.URL
}

func client(t *testing.T, o registry.Options) *registry.Client {
	t.Helper()
	if o.Backoff == 0 {
		o.Backoff = time.Millisecond
	}
	c := registry.New(o)
	t.Cleanup(c.Close)
	return c
}

const (
	noSubject = `404 {"error_code":40401,"message":"Subject not found"}`
	noSchema  = `404 {"error_code":40403,"message":"Schema not found"}`
	found     = `200 {"subject":"t-value","version":1,"id":7,"schema":"x"}`
)

func TestResolveAnswers(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		answers  []string
		register bool
		reason   registry.Reason
		retry    bool
		verdict  event.Verdict
		requests int
		want     []string // in the message
	}{
		"401":         {[]string{`401 {"error_code":401,"message":"Unauthorized"}`}, false, registry.Denied, false, event.Refuse, 1, []string{"401", "Unauthorized", "next: correct the registry's username"}},
		"403 no JSON": {[]string{`403 <html>`}, false, registry.Denied, false, event.Refuse, 1, []string{"403"}},
		"404 no JSON": {[]string{`404 <html>`}, true, registry.NotARegistry, false, event.Refuse, 1, []string{"not as a schema registry does", "/apis/ccompat/v7"}},
		"missing":     {[]string{noSubject}, false, registry.Missing, false, event.Refuse, 1, []string{"subject t-value (schema EV1)", "not registered", "environment: development"}},
		"no version":  {[]string{noSchema}, false, registry.Missing, false, event.Refuse, 1, nil},
		"409": {
			append([]string{noSchema}, slices.Repeat([]string{`200 {"is_compatible":true}`, `409 {"error_code":409,"message":"incompatible: transitive"}`, noSchema}, 3)...),
			true, registry.Incompatible, false, event.Refuse, 10, []string{"incompatible: transitive"},
		},
		"reason":       {[]string{noSchema, `200 {"is_compatible":false,"reason":"amount at /fields/1"}`}, true, registry.Incompatible, false, event.Refuse, 2, []string{"amount at /fields/1"}},
		"incompatible": {[]string{noSchema, `200 {"is_compatible":false,"messages":["READER_FIELD_MISSING_DEFAULT_VALUE: f","second"]}`}, true, registry.Incompatible, false, event.Refuse, 2, []string{"READER_FIELD_MISSING_DEFAULT_VALUE: f; second", "a new field needs a default"}},
		"422":          {[]string{`422 {"error_code":42201,"message":"Invalid schema"}`}, false, registry.Invalid, false, event.Refuse, 1, []string{"Invalid schema", "correct the schema file of EV1"}},
		"429":          {[]string{`429 {}`}, false, registry.Busy, true, event.Restart, 1, nil},
		"500 for good": {[]string{`500 {"error_code":50001,"message":"store"}`}, false, registry.Unreachable, true, event.Restart, 3, []string{"HTTP 500: store", "tries again"}},
		"400":          {[]string{`400 {"error_code":400,"message":"bad"}`}, false, registry.Unexpected, false, event.Refuse, 1, []string{"HTTP 400"}},
		"not JSON":     {[]string{`200 <html>`}, false, registry.Unexpected, false, event.Refuse, 1, []string{"cannot be understood"}},
		"no id":        {[]string{`200 {}`}, false, registry.Unexpected, false, event.Refuse, 1, []string{"no schema id"}},
		"vanished":     {[]string{noSubject, noSubject, `200 {"id":7}`, `200 {"schema":"x"}`, noSubject}, true, registry.Unexpected, false, event.Refuse, 5, []string{"not found afterwards"}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			a, url := serve(t, c.answers...)
			_, err := client(t, registry.Options{URL: url, Retries: 2}).Resolve(t.Context(), []registry.Want{want("t")}, c.register)
			e, ok := errors.AsType[*registry.Error](err)
			if !ok {
				t.Fatalf("error %v (%T) holds no *registry.Error", err, err)
			}
			if e.Reason != c.reason || e.Retryable() != c.retry || event.VerdictOf(err) != c.verdict {
				t.Errorf("reason %d retryable %t verdict %d; want %d %t %d: %v", e.Reason, e.Retryable(), event.VerdictOf(err), c.reason, c.retry, c.verdict, err)
			}
			if len(a.seen) != c.requests {
				t.Errorf("%d requests, want %d: %v", len(a.seen), c.requests, a.seen)
			}
			for _, s := range append(c.want, url) {
				if !strings.Contains(err.Error(), s) {
					t.Errorf("%v\nwant %q in it", err, s)
				}
			}
		})
	}
}

func TestResolveRetriesThenRegisters(t *testing.T) {
	t.Parallel()
	a, url := serve(t, "503 {}", "500 <html>", noSubject, noSubject, `200 {"id":7}`, `200 {"schema":"x"}`, found)
	ids, err := client(t, registry.Options{URL: url + "/"}).Resolve(t.Context(), []registry.Want{want("t")}, true)
	if err != nil || !slices.Equal(ids, []int{7}) {
		t.Fatalf("ids %v, error %v", ids, err)
	}
	if got := a.seen[3]; got != "POST /compatibility/subjects/t-value/versions/latest?verbose=true" {
		t.Errorf("the check was %s", got)
	}
	if got := a.seen[4]; got != "POST /subjects/t-value/versions" {
		t.Errorf("the registration was %s", got)
	}
}

// Another relay registered the same schema a moment earlier: 409 and then found.
func TestResolveRace(t *testing.T) {
	t.Parallel()
	_, url := serve(t, noSubject, noSubject, `409 {"error_code":409,"message":"already exists"}`, found)
	ids, err := client(t, registry.Options{URL: url}).Resolve(t.Context(), []registry.Want{want("t")}, true)
	if err != nil || !slices.Equal(ids, []int{7}) {
		t.Errorf("ids %v, error %v", ids, err)
	}
	// Or another version of it, which takes one more check.
	a, url := serve(t, noSubject, noSubject, `409 {}`, noSchema, `200 {"is_compatible":true}`, `200 {"id":7}`, `200 {"schema":"x"}`, found)
	ids, err = client(t, registry.Options{URL: url}).Resolve(t.Context(), []registry.Want{want("t")}, true)
	if err != nil || !slices.Equal(ids, []int{7}) || len(a.seen) != 8 {
		t.Errorf("ids %v, error %v, %d requests", ids, err, len(a.seen))
	}
}

func TestResolveManyInParallel(t *testing.T) {
	t.Parallel()
	const topics, parallel = 40, 8
	var now, most atomic.Int32
	full := make(chan struct{}) // closed once as many requests as allowed are there
	var once sync.Once
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		n := now.Add(1)
		defer now.Add(-1)
		for m := most.Load(); n > m && !most.CompareAndSwap(m, n); m = most.Load() {
		}
		if n == parallel {
			once.Do(func() { close(full) })
		}
		<-full
		var id int
		_, _ = fmt.Sscanf(r.URL.Path, "/subjects/t%d-value", &id)
		_ = json.NewEncoder(w).Encode(map[string]any{"id": id + 1})
	}))
	t.Cleanup(srv.Close)
	wants := make([]registry.Want, topics)
	for i := range wants {
		wants[i] = want(fmt.Sprintf("t%d", i))
	}
	ids, err := client(t, registry.Options{URL: srv.URL, Parallel: parallel}).Resolve(t.Context(), wants, false)
	if err != nil {
		t.Fatal(err)
	}
	for i, id := range ids {
		if id != i+1 {
			t.Fatalf("id of want %d is %d", i, id)
		}
	}
	if most.Load() != parallel {
		t.Errorf("%d requests at once, want %d", most.Load(), parallel)
	}
}

func TestResolveGathersSchemaErrors(t *testing.T) {
	t.Parallel()
	_, url := serve(t, noSubject)
	_, err := client(t, registry.Options{URL: url}).Resolve(t.Context(), []registry.Want{want("a"), want("b"), want("c")}, false)
	for _, s := range []string{"3 of 3", "subject a-value", "subject b-value", "subject c-value", "next: cdc-relay schemas register"} {
		if err == nil || !strings.Contains(err.Error(), s) {
			t.Errorf("%v\nwant %q in it", err, s)
		}
	}
	if event.VerdictOf(err) != event.Refuse {
		t.Errorf("verdict %d", event.VerdictOf(err))
	}
	// A failure of the registry itself is said once, however many ask.
	_, url = serve(t, "401 {}")
	_, err = client(t, registry.Options{URL: url}).Resolve(t.Context(), []registry.Want{want("a"), want("b"), want("c")}, false)
	if err == nil || strings.Count(err.Error(), "(401)") != 1 {
		t.Errorf("got %v", err)
	}
}

func TestResolveUnreachable(t *testing.T) {
	t.Parallel()
	srv := httptest.NewServer(nil)
	url := strings.Replace(srv.URL, "http://", "http://user:s3cret@", 1)
	srv.Close()
	_, err := client(t, registry.Options{URL: url, Retries: 1}).Resolve(t.Context(), []registry.Want{want("a"), want("b")}, true)
	if event.VerdictOf(err) != event.Restart || !strings.Contains(err.Error(), "cannot be reached") {
		t.Errorf("verdict %d: %v", event.VerdictOf(err), err)
	}
	if strings.Contains(err.Error(), "s3cret") || strings.Count(err.Error(), "cannot be reached") != 1 {
		t.Errorf("%v", err)
	}
	for _, bad := range []string{"", "registry:8081", "http://u:s3cret@%zz", "ftp://h", "http://"} {
		_, err := client(t, registry.Options{URL: bad}).Resolve(t.Context(), nil, true)
		e, ok := errors.AsType[*registry.Error](err)
		if !ok || e.Reason != registry.Misconfigured || strings.Contains(err.Error(), "s3cret") {
			t.Errorf("URL %q: %v", bad, err)
		}
	}
}

func TestResolveTimeoutAndCancel(t *testing.T) {
	t.Parallel()
	reached := make(chan struct{}, 16)
	hang := make(chan struct{})
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.WriteHeader(http.StatusOK)
		w.(http.Flusher).Flush() // the status comes, the body never
		reached <- struct{}{}
		<-hang
	}))
	t.Cleanup(func() { close(hang); srv.Close() })
	_, err := client(t, registry.Options{URL: srv.URL, Timeout: 50 * time.Millisecond, Retries: 1}).Resolve(t.Context(), []registry.Want{want("t")}, false)
	if err == nil || !strings.Contains(err.Error(), "no answer in time") || len(reached) != 2 {
		t.Errorf("%d requests, error %v", len(reached), err)
	}
	<-reached
	<-reached
	ctx, cancel := context.WithCancel(t.Context())
	go func() { <-reached; cancel() }()
	_, err = client(t, registry.Options{URL: srv.URL, Backoff: time.Hour}).Resolve(ctx, []registry.Want{want("t")}, false)
	if !errors.Is(err, context.Canceled) {
		t.Errorf("got %v", err)
	}
}

func TestCredentials(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		set  func(*registry.Options)
		want string
	}{
		"none":           {func(*registry.Options) {}, ""},
		"basic":          {func(o *registry.Options) { o.Username, o.Password = "u", "p" }, "Basic dTpw"},
		"empty password": {func(o *registry.Options) { o.Username = "u" }, "Basic dTo="},
		"in the URL":     {func(o *registry.Options) { o.URL = strings.Replace(o.URL, "://", "://u:p@", 1) }, "Basic dTpw"},
		"bearer":         {func(o *registry.Options) { o.Username, o.BearerToken = "u", "tok" }, "Bearer tok"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			a, url := serve(t, found)
			o := registry.Options{URL: url, Headers: map[string]string{"X-Tenant": "nord"}}
			c.set(&o)
			if _, err := client(t, o).Resolve(t.Context(), []registry.Want{want("t")}, false); err != nil {
				t.Fatal(err)
			}
			if got := a.head[0].Get("Authorization"); got != c.want {
				t.Errorf("Authorization: %q, want %q", got, c.want)
			}
			if a.head[0].Get("X-Tenant") != "nord" {
				t.Errorf("headers %v", a.head[0])
			}
		})
	}
}

// A redirect to another host must not carry the credentials there.
func TestCredentialsStayOnTheHost(t *testing.T) {
	t.Parallel()
	other, otherURL := serve(t, found)
	srv := httptest.NewServer(http.RedirectHandler(otherURL+"/subjects/t-value", http.StatusTemporaryRedirect))
	t.Cleanup(srv.Close)
	o := registry.Options{URL: srv.URL, Username: "u", Password: "p", Headers: map[string]string{"X-Key": "k"}}
	if _, err := client(t, o).Resolve(t.Context(), []registry.Want{want("t")}, false); err != nil {
		t.Fatal(err)
	}
	if h := other.head[0]; h.Get("Authorization") != "" || h.Get("X-Key") != "" {
		t.Errorf("the other host saw %v", h)
	}
}

func TestTLS(t *testing.T) {
	t.Parallel()
	a := &answers{list: []string{found}}
	srv := httptest.NewUnstartedServer(a)
	srv.TLS = &tls.Config{ClientAuth: tls.RequireAnyClientCert, MinVersion: tls.VersionTLS12}
	srv.Config.ErrorLog = log.New(io.Discard, "", 0) // refused handshakes are part of the test
	srv.StartTLS()
	t.Cleanup(srv.Close)
	dir := t.TempDir()
	cert, key := filepath.Join(dir, "cert.pem"), filepath.Join(dir, "key.pem")
	pair := srv.TLS.Certificates[0]
	keyDER := marshalKey(t, pair)
	writePEM(t, cert, "CERTIFICATE", pair.Certificate[0])
	writePEM(t, key, "PRIVATE KEY", keyDER)
	for name, c := range map[string]struct {
		files registry.TLSFiles
		want  string // "" is success
	}{
		"both":           {registry.TLSFiles{CA: cert, Cert: cert, Key: key}, ""},
		"by other name":  {registry.TLSFiles{CA: cert, Cert: cert, Key: key, ServerName: "example.com"}, ""},
		"wrong name":     {registry.TLSFiles{CA: cert, Cert: cert, Key: key, ServerName: "wrong.test"}, "wrong.test"},
		"no CA":          {registry.TLSFiles{Cert: cert, Key: key}, "certificate"},
		"no client cert": {registry.TLSFiles{CA: cert}, "certificate required"},
	} {
		t.Run(name, func(t *testing.T) {
			cfg, err := registry.LoadTLS(c.files)
			if err != nil {
				t.Fatal(err)
			}
			_, err = client(t, registry.Options{URL: srv.URL, TLS: cfg, Retries: -1}).Resolve(t.Context(), []registry.Want{want("t")}, false)
			if (err == nil) != (c.want == "") || err != nil && !strings.Contains(err.Error(), c.want) {
				t.Errorf("got %v, want %q", err, c.want)
			}
		})
	}
	for _, f := range []registry.TLSFiles{{CA: key}, {CA: "nowhere.pem"}, {Cert: cert}, {Cert: cert, Key: cert}} {
		if _, err := registry.LoadTLS(f); err == nil {
			t.Errorf("LoadTLS(%+v) did not fail", f)
		}
	}
}

func writePEM(t *testing.T, name, kind string, der []byte) {
	t.Helper()
	if err := os.WriteFile(name, pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der}), 0o600); err != nil {
		t.Fatal(err)
	}
}
