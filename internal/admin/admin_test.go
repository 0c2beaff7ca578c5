package admin

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"net"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"
	"go.uber.org/goleak"

	"github.com/cdc-relay/cdc-relay/internal/event"
	"github.com/cdc-relay/cdc-relay/internal/relay"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// serve runs a server until the test ends and returns its base URL.
func serve(t *testing.T, reg *prometheus.Registry, status *Status) string {
	t.Helper()
	s := NewServer(Options{Listen: "127.0.0.1:0", Gatherer: reg, Status: status})
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- s.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Errorf("Run: %v", err)
		}
	})
	addr := s.Addr(ctx)
	if _, port, err := net.SplitHostPort(addr); err != nil || port == "0" {
		t.Fatalf("address %q", addr)
	}
	return "http://" + addr
}

func get(t *testing.T, method, url string) (int, string, http.Header) {
	t.Helper()
	c := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}, Timeout: 10 * time.Second}
	req, err := http.NewRequestWithContext(t.Context(), method, url, nil)
	if err != nil {
		t.Fatal(err)
	}
	resp, err := c.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return resp.StatusCode, string(b), resp.Header
}

func readiness(t *testing.T, base string) (int, Readiness) {
	t.Helper()
	code, body, _ := get(t, http.MethodGet, base+"/readyz")
	var r Readiness
	if err := json.Unmarshal([]byte(body), &r); err != nil {
		t.Fatalf("%s: %v", body, err)
	}
	return code, r
}

func TestReadiness(t *testing.T) {
	t.Parallel()
	reg := prometheus.NewRegistry()
	status := NewStatus(reg)
	base := serve(t, reg, status)

	if code, r := readiness(t, base); code != 503 || r.Ready || r.Reason == "" || r.Pipelines == nil {
		t.Errorf("without a pipeline: %d %+v", code, r)
	}
	cp := event.Checkpoint{Safe: 0x16B3778, Last: event.Position{Commit: 0x16B3748, Ord: 3}, Time: 1_700_000_000_000_001, Events: 9}
	status.Add("essays", func() event.Checkpoint { return cp })
	status.Add("exams", nil)
	for _, c := range []struct {
		state relay.State
		ready bool
	}{{relay.Starting, false}, {relay.Running, true}, {relay.Waiting, true}, {relay.Recovering, false}, {relay.Failed, false}, {relay.Stopped, false}} {
		status.Set("essays", relay.Running, nil)
		status.Set("exams", c.state, errors.New("slot exams is lost\n  next: cdc-relay slots recreate"))
		code, r := readiness(t, base)
		if (code == 200) != c.ready || r.Ready != c.ready {
			t.Errorf("%s: %d %+v", c.state, code, r)
		}
		if c.ready && len(r.NotReady) > 0 || !c.ready && !slices.Equal(r.NotReady, []string{"exams"}) {
			t.Errorf("%s: not ready: %v", c.state, r.NotReady)
		}
		if len(r.Pipelines) != 2 || r.Pipelines[0].Name != "essays" || r.Pipelines[1].State != c.state || !strings.Contains(r.Pipelines[1].Reason, "is lost") {
			t.Errorf("%s: %+v", c.state, r.Pipelines)
		}
		got := r.Pipelines[0].Checkpoint
		if got == nil || got.Safe != cp.Safe || got.Commit != cp.Last.Commit || got.Events != 9 || got.Time.UnixMicro() != cp.Time || r.Pipelines[1].Checkpoint != nil {
			t.Errorf("%s: checkpoint %+v", c.state, got)
		}
	}
	status.Remove("exams")
	if code, r := readiness(t, base); code != 200 || len(r.Pipelines) != 1 {
		t.Errorf("after Remove: %d %+v", code, r)
	}
}

func TestEndpoints(t *testing.T) {
	t.Parallel()
	reg := prometheus.NewRegistry()
	status := NewStatus(reg)
	base := serve(t, reg, status)
	status.Set("essays", relay.Running, nil)

	if code, body, h := get(t, http.MethodGet, base+"/healthz"); code != 200 || !strings.Contains(body, "alive") || h.Get("Content-Type") != "application/json" {
		t.Errorf("healthz: %d %s %v", code, body, h)
	}
	if code, body, _ := get(t, http.MethodGet, base+"/metrics"); code != 200 || !strings.Contains(body, `cdc_relay_pipeline_state{pipeline="essays",state="RUNNING"} 1`) {
		t.Errorf("metrics: %d %s", code, body)
	}
	if code, _, _ := get(t, http.MethodPost, base+"/readyz"); code != http.StatusMethodNotAllowed {
		t.Errorf("POST: %d", code)
	}
	if code, _, _ := get(t, http.MethodGet, base+"/other"); code != http.StatusNotFound {
		t.Errorf("unknown path: %d", code)
	}
}

func TestState(t *testing.T) {
	t.Parallel()
	reg := prometheus.NewRegistry()
	s := NewStatus(reg)
	now := time.Unix(100, 0)
	s.now = func() time.Time { return now }
	s.Add("essays", nil)
	now = time.Unix(200, 0)
	s.Set("essays", relay.Recovering, errors.New("first"))
	now = time.Unix(300, 0)
	s.Set("essays", relay.Recovering, errors.New("second"))
	if p := s.Pipelines()[0]; p.Since.Unix() != 200 || p.Reason != "second" {
		t.Errorf("%+v: the state began at 200 and has a newer reason", p)
	}
	s.Set("essays", relay.Running, nil)
	if p := s.Pipelines()[0]; p.Since.Unix() != 300 || p.Reason != "" {
		t.Errorf("%+v", p)
	}
	want := `# HELP cdc_relay_pipeline_state 1 for the state a pipeline is in, 0 for the others.
# TYPE cdc_relay_pipeline_state gauge
cdc_relay_pipeline_state{pipeline="essays",state="FAILED"} 0
cdc_relay_pipeline_state{pipeline="essays",state="RECOVERING"} 0
cdc_relay_pipeline_state{pipeline="essays",state="RUNNING"} 1
cdc_relay_pipeline_state{pipeline="essays",state="STANDBY"} 0
cdc_relay_pipeline_state{pipeline="essays",state="STARTING"} 0
cdc_relay_pipeline_state{pipeline="essays",state="STOPPED"} 0
`
	if err := testutil.GatherAndCompare(reg, strings.NewReader(want)); err != nil {
		t.Error(err)
	}
	s.Remove("essays")
	if n, err := testutil.GatherAndCount(reg); err != nil || n != 0 {
		t.Errorf("%d series after Remove, %v", n, err)
	}
}

// Many pipelines report while the board is read; the race detector judges.
func TestConcurrent(t *testing.T) {
	t.Parallel()
	s := NewStatus(prometheus.NewRegistry())
	var wg sync.WaitGroup
	for _, name := range []string{"a", "b", "c", "d"} {
		wg.Go(func() {
			for i := range 200 {
				s.Add(name, func() event.Checkpoint { return event.Checkpoint{Safe: 1} })
				s.Set(name, states[i%len(states)], nil)
				s.Pipelines()
			}
			s.Set(name, relay.Stopped, nil)
		})
	}
	wg.Wait()
	for _, p := range s.Pipelines() {
		if p.State != relay.Stopped {
			t.Errorf("%+v", p)
		}
	}
}

// A running request is let finish at the end; a new one is not taken.
func TestGracefulEnd(t *testing.T) {
	t.Parallel()
	reg := prometheus.NewRegistry()
	status := NewStatus(reg)
	asked, answer := make(chan struct{}), make(chan struct{})
	var once sync.Once
	status.Add("essays", func() event.Checkpoint {
		once.Do(func() { close(asked) })
		<-answer
		return event.Checkpoint{Safe: 7}
	})
	s := NewServer(Options{Listen: "127.0.0.1:0", Gatherer: reg, Status: status})
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	done, got := make(chan error, 1), make(chan int, 1)
	go func() { done <- s.Run(ctx) }()
	base := "http://" + s.Addr(ctx)
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, base+"/readyz", nil)
	if err != nil {
		t.Fatal(err)
	}
	go func() {
		c := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}, Timeout: 10 * time.Second}
		resp, err := c.Do(req)
		if err != nil {
			got <- 0
			return
		}
		got <- resp.StatusCode
		resp.Body.Close()
	}()
	<-asked
	cancel()
	refused(t, strings.TrimPrefix(base, "http://"))
	close(answer)
	if code := <-got; code != 503 {
		t.Errorf("the running request got %d", code)
	}
	if err := <-done; err != nil {
		t.Errorf("Run: %v", err)
	}
}

// refused waits until nobody listens at addr any more.
func refused(t *testing.T, addr string) {
	t.Helper()
	for t.Context().Err() == nil {
		c, err := (&net.Dialer{}).DialContext(t.Context(), "tcp", addr)
		if err != nil {
			return
		}
		c.Close()
	}
}

func TestAddressTaken(t *testing.T) {
	t.Parallel()
	ln, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	reg := prometheus.NewRegistry()
	s := NewServer(Options{Listen: ln.Addr().String(), Gatherer: reg, Status: NewStatus(reg)})
	if err := s.Run(t.Context()); err == nil || !strings.Contains(err.Error(), "http.listen") {
		t.Errorf("got %v", err)
	}
	ended, cancel := context.WithCancel(t.Context())
	cancel()
	if a := s.Addr(ended); a != "" {
		t.Errorf("address %q of a server that never listened", a)
	}
}
