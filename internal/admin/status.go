package admin

import (
	"slices"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/cdc-relay/cdc-relay/internal/event"
	"github.com/cdc-relay/cdc-relay/internal/relay"
)

var states = []relay.State{relay.Starting, relay.Running, relay.Waiting, relay.Recovering, relay.Failed, relay.Stopped}

// ready reports whether a pipeline in this state lets the process be ready. A
// standby is ready: otherwise a rolling update, which waits for the new process
// to be ready before it ends the old one, would wait for ever.
func ready(s relay.State) bool { return s == relay.Running || s == relay.Waiting }

// Status is the board pipelines report their state to. It is safe for
// concurrent use.
type Status struct {
	mu        sync.Mutex
	pipelines map[string]*pipeline
	gauge     *prometheus.GaugeVec
	now       func() time.Time
}

type pipeline struct {
	state      relay.State
	since      time.Time
	reason     string
	checkpoint func() event.Checkpoint
}

// Pipeline is one line of the board.
type Pipeline struct {
	Name  string      `json:"name"`
	State relay.State `json:"state"`
	Since time.Time   `json:"since"` // when it came into this state
	// Reason is why, when it is neither RUNNING nor STOPPED on request.
	Reason string `json:"reason,omitempty"`
	// Checkpoint is the last one committed to Kafka; nil: none yet.
	Checkpoint *Checkpoint `json:"checkpoint,omitempty"`
}

// Checkpoint is an event.Checkpoint as /readyz shows it.
type Checkpoint struct {
	Safe   event.LSN  `json:"safe_lsn"`
	Commit event.LSN  `json:"commit_lsn"` // of the last row
	Time   *time.Time `json:"commit_time,omitempty"`
	Events uint64     `json:"events"`
}

// NewStatus returns an empty board and registers cdc_relay_pipeline_state: 1
// for the state a pipeline is in, 0 for the others.
func NewStatus(reg prometheus.Registerer) *Status {
	s := &Status{
		pipelines: map[string]*pipeline{},
		gauge: prometheus.NewGaugeVec(prometheus.GaugeOpts{Name: "cdc_relay_pipeline_state",
			Help: "1 for the state a pipeline is in, 0 for the others."}, []string{"pipeline", "state"}),
		now: time.Now,
	}
	reg.MustRegister(s.gauge)
	return s
}

// Add puts a pipeline on the board, STARTING. checkpoint, which may be nil, is
// asked whenever the board is read and must be safe for concurrent use.
func (s *Status) Add(name string, checkpoint func() event.Checkpoint) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.pipelines[name] = &pipeline{checkpoint: checkpoint}
	s.set(name, relay.Starting, "")
}

// Set says where a pipeline is now; reason may be nil. A pipeline that is not
// on the board is added. since only moves when the state changes.
func (s *Status) Set(name string, state relay.State, reason error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	why := ""
	if reason != nil {
		why = reason.Error()
	}
	s.set(name, state, why)
}

func (s *Status) set(name string, state relay.State, reason string) {
	p := s.pipelines[name]
	if p == nil {
		p = &pipeline{}
		s.pipelines[name] = p
	}
	if p.state != state {
		p.state, p.since = state, s.now().UTC()
	}
	p.reason = reason
	for _, other := range states {
		v := 0.0
		if other == state {
			v = 1
		}
		s.gauge.WithLabelValues(name, string(other)).Set(v)
	}
}

// Remove takes a pipeline off the board: a replay that reached its end.
func (s *Status) Remove(name string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.pipelines, name)
	s.gauge.DeletePartialMatch(prometheus.Labels{"pipeline": name})
}

// Pipelines is the board, by name.
func (s *Status) Pipelines() []Pipeline {
	s.mu.Lock()
	out := make([]Pipeline, 0, len(s.pipelines))
	asked := make(map[string]func() event.Checkpoint, len(s.pipelines))
	for name, p := range s.pipelines {
		out = append(out, Pipeline{Name: name, State: p.state, Since: p.since, Reason: p.reason})
		asked[name] = p.checkpoint
	}
	s.mu.Unlock()
	slices.SortFunc(out, func(a, b Pipeline) int {
		if a.Name < b.Name {
			return -1
		}
		return 1
	})
	// Asked without the lock: what is behind it may take one of its own.
	for i := range out {
		if f := asked[out[i].Name]; f != nil {
			out[i].Checkpoint = show(f())
		}
	}
	return out
}

func show(cp event.Checkpoint) *Checkpoint {
	if cp.Safe == 0 {
		return nil
	}
	out := &Checkpoint{Safe: cp.Safe, Commit: cp.Last.Commit, Events: cp.Events}
	if cp.Time != 0 {
		t := time.UnixMicro(cp.Time).UTC()
		out.Time = &t
	}
	return out
}

// notReady names the pipelines that keep the process from being ready.
func notReady(ps []Pipeline) []string {
	var out []string
	for _, p := range ps {
		if !ready(p.State) {
			out = append(out, p.Name)
		}
	}
	return out
}
