package claim

import (
	"encoding/json"
	"fmt"
	"io"
	"mime"
	"mime/multipart"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"gocloud.dev/blob"

	"github.com/cdc-relay/cdc-relay/internal/event"
)

// The servers of these tests are fakes: they answer the few requests the relay
// makes of Google Cloud Storage and Azure as their documentation says, so that
// conditional writes and refusals go the way of the real drivers.

// cloud is a fake's state.
type cloud struct {
	mu      sync.Mutex
	objects map[string]string
	writes  int // those that stored something
	forbid  bool
}

func (c *cloud) put(key, data string, absent bool) (stored bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if _, there := c.objects[key]; there && absent {
		return false
	}
	c.objects[key] = data
	c.writes++
	return true
}

func (c *cloud) get(key string) (string, bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	data, ok := c.objects[key]
	return data, ok
}

func (c *cloud) forbids() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.forbid
}

// gcs is what the JSON API of Google Cloud Storage answers.
func (c *cloud) gcs(w http.ResponseWriter, r *http.Request) {
	fail := func(code int) {
		w.WriteHeader(code)
		fmt.Fprintf(w, `{"error":{"code":%d,"message":"as the test wants"}}`, code)
	}
	answer := func(key, data string) {
		w.Header().Set("Content-Type", "application/json")
		fmt.Fprintf(w, `{"kind":"storage#object","name":%q,"bucket":"artifacts","size":"%d","generation":"1","updated":%q,"timeCreated":%[3]q}`,
			key, len(data), time.Now().UTC().Format(time.RFC3339))
	}
	switch {
	case c.forbids():
		fail(http.StatusForbidden)
	case r.Method == http.MethodPost && r.URL.Query().Get("uploadType") == "multipart":
		_, params, err := mime.ParseMediaType(r.Header.Get("Content-Type"))
		if key := r.URL.Query().Get("name"); err == nil {
			var parts []string
			m := multipart.NewReader(r.Body, params["boundary"])
			for p, err := m.NextPart(); err == nil; p, err = m.NextPart() {
				b, _ := io.ReadAll(p)
				parts = append(parts, string(b))
			}
			if key == "" {
				var meta struct{ Name string }
				_ = json.Unmarshal([]byte(parts[0]), &meta)
				key = meta.Name
			}
			if !c.put(key, parts[1], r.URL.Query().Get("ifGenerationMatch") == "0") {
				fail(http.StatusPreconditionFailed)
				return
			}
			answer(key, parts[1])
			return
		}
		fail(http.StatusBadRequest)
	case r.Method == http.MethodGet:
		_, key, _ := strings.Cut(r.URL.Path, "/o/")
		if data, ok := c.get(key); ok {
			answer(key, data)
			return
		}
		fail(http.StatusNotFound)
	default:
		fail(http.StatusNotImplemented)
	}
}

// azure is what the blob service of Azure answers.
func (c *cloud) azure(w http.ResponseWriter, r *http.Request) {
	fail := func(status int, code string) {
		w.Header().Set("x-ms-error-code", code)
		w.WriteHeader(status)
		fmt.Fprintf(w, `<?xml version="1.0"?><Error><Code>%s</Code><Message>as the test wants</Message></Error>`, code)
	}
	key := strings.TrimPrefix(r.URL.Path, "/account/artifacts/")
	body, _ := io.ReadAll(r.Body)
	switch {
	case c.forbids():
		fail(http.StatusForbidden, "AuthorizationPermissionMismatch")
	case r.Method == http.MethodPut && r.URL.Query().Get("comp") == "":
		if !c.put(key, string(body), r.Header.Get("If-None-Match") == "*") {
			fail(http.StatusConflict, "BlobAlreadyExists")
			return
		}
		w.WriteHeader(http.StatusCreated)
	case r.Method == http.MethodHead:
		data, ok := c.get(key)
		if !ok {
			fail(http.StatusNotFound, "BlobNotFound")
			return
		}
		w.Header().Set("Content-Length", fmt.Sprint(len(data)))
		w.Header().Set("Last-Modified", time.Now().UTC().Format(http.TimeFormat))
		w.Header().Set("x-ms-creation-time", time.Now().UTC().Format(http.TimeFormat))
		w.Header().Set("ETag", `"1"`)
		w.WriteHeader(http.StatusOK)
	default:
		fail(http.StatusNotImplemented, "NotImplemented")
	}
}

func TestClouds(t *testing.T) {
	google, azure := &cloud{objects: map[string]string{}}, &cloud{objects: map[string]string{}}
	g, a := httptest.NewServer(http.HandlerFunc(google.gcs)), httptest.NewServer(http.HandlerFunc(azure.azure))
	defer g.Close()
	defer a.Close()
	for name, value := range map[string]string{
		"STORAGE_EMULATOR_HOST": g.Listener.Addr().String(), "AZURE_STORAGE_ACCOUNT": "account", "AZURE_STORAGE_SAS_TOKEN": "sig=test",
		"AZURE_STORAGE_DOMAIN": a.Listener.Addr().String(), "AZURE_STORAGE_PROTOCOL": "http", "AZURE_STORAGE_IS_LOCAL_EMULATOR": "true",
	} {
		t.Setenv(name, value)
	}
	for name, c := range map[string]struct {
		cloud *cloud
		url   string
	}{
		"gcs":   {google, "gs://artifacts?anonymous=true"},
		"azure": {azure, "azblob://artifacts"},
	} {
		t.Run(name, func(t *testing.T) {
			s := New(Options{Bucket: c.url, Prefix: "events", Timeout: 20 * time.Second, Parallel: 2})
			defer s.Close()
			if err := s.Check(t.Context()); err != nil {
				t.Fatal(err)
			}
			m, b := metrics(t), blobOf(strings.Repeat("x", 70_000))
			for range 2 {
				if err := s.Upload(t.Context(), []event.Blob{b}, m); err != nil {
					t.Fatal(err)
				}
			}
			m.is(t, 1, 1)
			if data, _ := c.cloud.get("events/" + b.Key()); data != string(b.Data) || c.cloud.writes != 2 { // with the probe
				t.Errorf("%d bytes, %d writes", len(data), c.cloud.writes)
			}
			c.cloud.mu.Lock()
			c.cloud.forbid = true
			c.cloud.mu.Unlock()
			if err := s.Upload(t.Context(), []event.Blob{blobOf("other")}, m); event.VerdictOf(err) != event.Refuse || !strings.Contains(err.Error(), "let the relay's credentials") {
				t.Errorf("403: %v", err)
			}
		})
	}
	for _, scheme := range []string{"s3", "gs", "azblob", "file"} {
		if !slices.Contains(blob.DefaultURLMux().BucketSchemes(), scheme) {
			t.Errorf("no driver for %s://", scheme)
		}
	}
}
