package stack

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/twmb/avro"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/sr/srfake"
)

// embeddedWarning is printed whenever this kind is used.
const embeddedWarning = `EMBEDDED %s: an imitation inside this process, not the real thing. It is good
stack:   for a demo and for short tests on a machine without containers and Java, and it proves nothing about crashes.`

// embedded runs kfake in this process.
type embedded struct {
	stack   *Stack
	config  brokerConfig
	dir     string
	ports   []*lease
	cluster *kfake.Cluster
}

func (s *Stack) newEmbedded(ctx context.Context, c brokerConfig) (_ *Kafka, err error) {
	s.out.line(embeddedWarning, "broker")
	e := &embedded{stack: s, config: c}
	if e.dir, err = s.guard.tempDir("kfake"); err != nil {
		return nil, err
	}
	var addrs []string
	for range c.brokers {
		l, err := leasePort(s.cache)
		if err != nil {
			return nil, errors.Join(err, e.close())
		}
		e.ports = append(e.ports, l)
		addrs = append(addrs, l.addr())
	}
	if err := e.start(ctx, nil); err != nil {
		return nil, errors.Join(err, e.close())
	}
	return &Kafka{info: KafkaInfo{Bootstrap: strings.Join(addrs, ","), Kind: "embedded"}, server: e, own: true}, nil
}

// start makes the cluster; its state is in the folder, so it can come back.
func (e *embedded) start(ctx context.Context, nodes []int) error {
	if len(nodes) > 0 {
		return fmt.Errorf("one broker of an embedded cluster: %w", errors.ErrUnsupported)
	}
	if e.cluster != nil {
		return errors.New("it is running")
	}
	var ports []int
	for _, l := range e.ports {
		ports = append(ports, l.port)
	}
	opts := []kfake.Opt{kfake.NumBrokers(len(ports)), kfake.Ports(ports...), kfake.DataDir(e.dir)}
	if len(e.config.settings) > 0 {
		opts = append(opts, kfake.BrokerConfigs(e.config.settings))
	}
	c, err := kfake.NewCluster(opts...)
	if err != nil {
		return err
	}
	e.cluster = c
	return brokersReady(ctx, strings.Join(c.ListenAddrs(), ","), len(ports), func() error { return nil })
}

func (e *embedded) stop(_ context.Context, nodes []int) error {
	if len(nodes) > 0 {
		return fmt.Errorf("one broker of an embedded cluster: %w", errors.ErrUnsupported)
	}
	if e.cluster != nil {
		e.cluster.Close()
		e.cluster = nil
	}
	return nil
}

// A thread cannot be killed or frozen: crash tests need another kind.

func (e *embedded) kill([]int) error   { return fmt.Errorf("embedded: %w", errors.ErrUnsupported) }
func (e *embedded) pause([]int) error  { return fmt.Errorf("embedded: %w", errors.ErrUnsupported) }
func (e *embedded) resume([]int) error { return fmt.Errorf("embedded: %w", errors.ErrUnsupported) }

func (e *embedded) close() error {
	err := e.stop(context.Background(), nil)
	for _, l := range e.ports {
		l.release()
	}
	return errors.Join(err, e.stack.guard.removeDir(e.dir))
}

// embeddedRegistry serves srfake, which checks no compatibility, behind a
// handler that does.
type embeddedRegistry struct {
	port   *lease
	fake   *srfake.Registry
	server *http.Server
	ended  chan struct{}
}

func (s *Stack) newEmbeddedRegistry(ctx context.Context) (*SR, error) {
	s.out.line(embeddedWarning, "registry")
	l, err := leasePort(s.cache)
	if err != nil {
		return nil, err
	}
	r := &embeddedRegistry{port: l, fake: srfake.NewRegistry()}
	r.fake.Intercept(r.check)
	if err := r.start(ctx); err != nil {
		l.release()
		return nil, err
	}
	return &SR{info: RegistryInfo{URL: "http://" + l.addr(), Kind: "embedded"}, server: r, own: true}, nil
}

func (r *embeddedRegistry) start(context.Context) error {
	if r.server != nil {
		return errors.New("it is running")
	}
	ln, err := net.Listen("tcp", r.port.addr())
	if err != nil {
		return err
	}
	server := &http.Server{Handler: r.fake.Handler(), ReadHeaderTimeout: 10 * time.Second}
	r.server, r.ended = server, make(chan struct{})
	go func() { // owned: stop waits for it
		defer close(r.ended)
		_ = server.Serve(ln) // http.ErrServerClosed
	}()
	return nil
}

func (r *embeddedRegistry) stop() error {
	if r.server == nil {
		return nil
	}
	err := r.server.Close()
	<-r.ended
	r.server = nil
	return err
}

func (r *embeddedRegistry) close() error {
	defer r.port.release()
	return r.stop()
}

// check answers what srfake does not check: POST /subjects/{s}/versions is
// refused with 409 when the schema breaks the subject's level, and POST
// /compatibility/subjects/{s}/versions[/{v}] tells whether it would be.
func (r *embeddedRegistry) check(w http.ResponseWriter, req *http.Request) bool {
	path, asked := strings.CutPrefix(req.URL.Path, "/compatibility")
	rest, ok := strings.CutPrefix(path, "/subjects/")
	subject, versions, found := strings.Cut(rest, "/versions")
	if req.Method != http.MethodPost || !ok || !found || subject == "" {
		return false
	}
	body, err := io.ReadAll(io.LimitReader(req.Body, 1<<20))
	if err != nil {
		return answer(w, http.StatusBadRequest, map[string]any{"error_code": 400, "message": err.Error()})
	}
	req.Body = io.NopCloser(bytes.NewReader(body))
	var posted struct {
		Schema     string          `json:"schema"`
		SchemaType string          `json:"schemaType"`
		References json.RawMessage `json:"references"`
	}
	if json.Unmarshal(body, &posted) != nil || posted.SchemaType != "" && posted.SchemaType != "AVRO" || len(posted.References) > 2 {
		return false // not for us: srfake answers, without a check
	}
	next, err := avro.Parse(posted.Schema)
	if err != nil {
		return answer(w, http.StatusUnprocessableEntity, map[string]any{"error_code": 42201, "message": "Invalid schema: " + err.Error()})
	}
	wrong := r.incompatible(subject, strings.TrimPrefix(versions, "/"), next)
	switch {
	case asked:
		return answer(w, http.StatusOK, map[string]any{"is_compatible": len(wrong) == 0, "messages": wrong})
	case len(wrong) > 0:
		return answer(w, http.StatusConflict, map[string]any{"error_code": 409,
			"message": "Schema being registered is incompatible with an earlier schema: " + strings.Join(wrong, "; ")})
	}
	return false
}

func answer(w http.ResponseWriter, status int, body any) bool {
	w.Header().Set("Content-Type", "application/vnd.schemaregistry.v1+json")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(body) // the client went away
	return true
}

// incompatible returns what the subject's level says against next: compared
// with the given version, or with the latest, or with all (TRANSITIVE).
func (r *embeddedRegistry) incompatible(subject, version string, next *avro.Schema) (wrong []string) {
	level := r.level(subject)
	direction, transitive := strings.CutSuffix(level, "_TRANSITIVE")
	for _, text := range r.earlier(subject, version, transitive) {
		old, err := avro.Parse(text)
		if err != nil {
			return append(wrong, err.Error())
		}
		if direction == "BACKWARD" || direction == "FULL" { // next reads old
			if err := avro.CheckCompatibility(old, next); err != nil {
				wrong = append(wrong, err.Error())
			}
		}
		if direction == "FORWARD" || direction == "FULL" { // old reads next
			if err := avro.CheckCompatibility(next, old); err != nil {
				wrong = append(wrong, err.Error())
			}
		}
	}
	return wrong
}

// level asks srfake for the subject's level, with the global one behind it.
func (r *embeddedRegistry) level(subject string) string {
	var got struct {
		Level string `json:"compatibilityLevel"`
	}
	r.get("/config/"+url.PathEscape(subject)+"?defaultToGlobal=true", &got)
	return got.Level
}

// earlier returns the schemas to compare with.
func (r *embeddedRegistry) earlier(subject, version string, transitive bool) (texts []string) {
	var versions []int
	r.get("/subjects/"+url.PathEscape(subject)+"/versions", &versions)
	if n, err := strconv.Atoi(version); err == nil {
		versions = []int{n}
	} else if !transitive && len(versions) > 0 {
		versions = versions[len(versions)-1:]
	}
	for _, v := range versions {
		var got struct {
			Schema string `json:"schema"`
		}
		if r.get("/subjects/"+url.PathEscape(subject)+"/versions/"+strconv.Itoa(v), &got) {
			texts = append(texts, got.Schema)
		}
	}
	return texts
}

// get asks srfake's handler directly.
func (r *embeddedRegistry) get(path string, into any) bool {
	req, err := http.NewRequest(http.MethodGet, path, http.NoBody)
	if err != nil {
		return false
	}
	rec := httptest.NewRecorder()
	r.fake.Handler().ServeHTTP(rec, req)
	return rec.Code == http.StatusOK && json.Unmarshal(rec.Body.Bytes(), into) == nil
}
