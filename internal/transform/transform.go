package transform

import (
	"errors"
	"fmt"
	"log/slog"
	"strconv"
	"strings"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/cdc-relay/cdc-relay/internal/contract"
	"github.com/cdc-relay/cdc-relay/internal/event"
)

const (
	// DefaultMaxBytes is the largest record by default: what librdkafka and a
	// broker both take without being told.
	DefaultMaxBytes = 1_000_000
	// TargetBytes is the size above which records are counted as too large for
	// comfort.
	TargetBytes = 100_000
	// DefaultMessagePrefix is the prefix of logical messages that are events.
	DefaultMessagePrefix = "cdc_relay"
)

// Options say what a Transformer is to do. Contract is required.
type Options struct {
	Contract *contract.Contract
	Mapping  Mapping // the zero Mapping: native

	// Versions are the versions of a schema by its name, Schemas one of them.
	// Both are asked by Compile only, for every schema the contract names.
	Versions func(name string) []int
	Schemas  func(name string, version int) (Schema, bool)

	// ClaimBase is where the URIs of claimed objects begin: s3://bucket/prefix.
	// References of whole Avro values have the schema RefSchema, version 0.
	ClaimBase string

	Service  string // label of metrics
	Database string // with SystemID: part of derived event ids
	SystemID string // of the Postgres cluster

	MessagePrefix string // of logical messages; empty: DefaultMessagePrefix
	MaxBytes      int    // of a record on the wire; 0: DefaultMaxBytes
	ReplayID      string // not empty: every record is marked with it and has no timestamp
	RepairID      string // not empty: the same, for a repair
	RedriveID     string // not empty: the same, for a redrive

	// Reserved are the relay's own topics: no event may go there.
	Reserved []string

	// DeadLetters says where events go that cannot be published, by the policy of
	// the contract; nil: each is an error.
	DeadLetters *DeadLetters

	Logger     *slog.Logger          // nil: silent
	Registerer prometheus.Registerer // nil: no metrics
	// Shared takes the metrics whose only labels are service and event_type,
	// which the pipelines of a process share; nil: Registerer does.
	Shared prometheus.Registerer

	// For tests; nil: the real ones.
	compile func(schema string) (encoder, error)
	now     func() time.Time
}

// Transformer turns rows into records. It is not safe for concurrent use; each
// pipeline has its own.
type Transformer struct {
	opts    Options
	log     *slog.Logger
	now     func() time.Time
	mapping *mapping
	message *mapping // of logical messages
	metrics *metrics
	mark    rowHeader // of records published again; no key: none

	rules      map[string]*rule
	unknown    *rule // nil: unknown events stop
	defaultKey keyRule

	correlation, schemaVersion *jsonPath // in the payload

	letters *letters // nil: what cannot be published is an error
	step    step     // what is being worked out, for the class of a dead letter
	rule    *rule    // of the row in hand; nil: not known yet, or none
	blame   blame    // the last fault about a row

	plans    map[*event.Relation]*plan
	topics   map[string]*string
	names    map[string]string // header names by their JSON text
	topicBuf []byte
	idName   idName

	compositeBuf []byte

	row     row
	derived derived
	claimed claimed
	version []byte
	timed   bool // the row in hand is one whose work is measured
	fell    bool // a key rule of the row in hand was of no use
	hasKey  bool // of the record that fell
}

// rule is a compiled contract.Rule.
type rule struct {
	src     *contract.Rule
	typ     []byte // value of the header event_type
	forms   []form
	metrics ruleMetrics

	places   *places // what key and headers may ask of the payload
	needJSON bool    // a form passes the payload on as JSON
	seen     uint32  // rows, to measure some
	warned   time.Time
	unwarned int
}

// form is a compiled contract.Form.
type form struct {
	topic          *string // nil: the row or the mapping names it
	encoding       contract.Encoding
	schema         string
	at             string
	key            *keyRule // nil: the default
	set            headerSet
	add            []addition
	contentType    []byte
	versions       []*version
	byDefault      *version
	defaultVersion []byte // header value when the row names no version
	maxBytes       int
	compacted      bool
	claim          *claim // nil: none
}

func (f *form) topicName() string {
	if f.topic == nil {
		return "by row"
	}
	return *f.topic
}

// Compile makes a Transformer. It asks for every schema the contract names,
// compiles them and reports all problems at once. It neither connects nor
// starts anything.
func Compile(o Options) (*Transformer, error) {
	t := &Transformer{
		opts: o, log: o.Logger, now: o.now,
		rules: map[string]*rule{}, plans: map[*event.Relation]*plan{},
		topics: map[string]*string{}, names: map[string]string{},
		correlation:   newPath(contract.Path{{Name: "correlation_id", Member: true}}),
		schemaVersion: newPath(contract.Path{{Name: "schema_version", Member: true}}),
	}
	if t.log == nil {
		t.log = slog.New(slog.DiscardHandler)
	}
	if t.now == nil {
		t.now = time.Now
	}
	if t.opts.compile == nil {
		t.opts.compile = compileAvro
	}
	if t.opts.MaxBytes == 0 {
		t.opts.MaxBytes = DefaultMaxBytes
	}
	if t.opts.MessagePrefix == "" {
		t.opts.MessagePrefix = DefaultMessagePrefix
	}
	switch {
	case o.ReplayID != "":
		t.mark = rowHeader{key: event.ReplayHeader, value: []byte(o.ReplayID)}
	case o.RepairID != "":
		t.mark = rowHeader{key: event.RepairHeader, value: []byte(o.RepairID)}
	case o.RedriveID != "":
		t.mark = rowHeader{key: event.RedriveHeader, value: []byte(o.RedriveID)}
	}
	if o.Contract == nil {
		return nil, errors.New("transform: no contract")
	}
	if err := t.compileParts(); err != nil {
		return nil, err
	}
	return t, nil
}

func (t *Transformer) compileParts() error {
	var errs [3]error
	t.mapping, errs[0] = compileMapping(t.opts.Mapping)
	t.message, errs[1] = messageMapping()
	t.metrics, errs[2] = newMetrics(t.opts.Registerer, t.opts.Shared)
	if err := errors.Join(errs[:]...); err != nil {
		return err
	}
	if t.opts.DeadLetters != nil {
		t.letters = newLetters(t.opts.DeadLetters)
	}
	c := t.opts.Contract
	if t.letters != nil && c.Unknown() == contract.UnknownDeadLetter {
		t.metrics.letters.WithLabelValues(t.opts.Service, unknownLabel, classes[stepType])
	}
	t.defaultKey = compileKey(c.DefaultKey())
	book := &schemaBook{opts: &t.opts, books: map[string][]*version{}}
	var bad []error
	for _, r := range c.Rules() {
		out, err := t.compileRule(r, book)
		t.rules[r.Type] = out
		bad = append(bad, err)
	}
	if c.Unknown() == contract.UnknownDefault {
		var err error
		t.unknown, err = t.compileRule(c.Default(), book)
		bad = append(bad, err)
	}
	return errors.Join(bad...)
}

func (t *Transformer) compileRule(src *contract.Rule, book *schemaBook) (*rule, error) {
	r := &rule{src: src, typ: []byte(src.Type), metrics: t.metrics.rule(t.opts.Service, src.Type)}
	for i := range src.Forms {
		f, err := t.compileForm(&src.Forms[i], book)
		if err != nil {
			return nil, fmt.Errorf("%s: event %q: %w", src.At, src.Type, err)
		}
		f.at = src.At
		if i == 0 { // the missing headers of other forms are not counted
			t.metrics.additions(t.opts.Service, src.Type, f.add)
		}
		r.forms = append(r.forms, f)
		r.needJSON = r.needJSON || f.encoding == contract.JSON
		if f.claim != nil {
			t.metrics.claims(&r.metrics, t.opts.Service, src.Type)
		}
	}
	if t.letters != nil && src.OnError != contract.Stop {
		t.metrics.putAside(t.opts.Service, src.Type, src.OnError == contract.HoldKey)
	}
	r.places = t.placesOf(r)
	return r, nil
}

// placesOf are the paths in the payload that the rows of a rule may ask for.
func (t *Transformer) placesOf(r *rule) *places {
	paths := append([]*jsonPath{t.correlation, t.schemaVersion}, payloadPaths(t.defaultKey.sources)...)
	for i := range r.forms {
		f := &r.forms[i]
		if f.key != nil {
			paths = append(paths, payloadPaths(f.key.sources)...)
		}
		for k := range f.add {
			paths = append(paths, payloadPaths(f.add[k].sources)...)
		}
	}
	return newPlaces(paths)
}

func (t *Transformer) compileForm(src *contract.Form, book *schemaBook) (form, error) {
	f := form{
		encoding: src.Encoding, schema: src.Schema, set: headerSetOf(src, t.mapping.preset),
		contentType: contentAvro, defaultVersion: []byte("1"), maxBytes: t.opts.MaxBytes,
	}
	if src.Topic != "" {
		f.topic = &src.Topic
	}
	if src.Key != nil {
		key := compileKey(src.Key)
		f.key = &key
	}
	if class, ok := t.opts.Contract.Class(src.TopicClass); ok {
		f.compacted = strings.Contains(class.Config["cleanup.policy"], "compact")
		if n, err := strconv.Atoi(class.Config["max.message.bytes"]); err == nil {
			f.maxBytes = min(f.maxBytes, n)
		}
	}
	var err error
	if f.add, err = compileAdditions(src.Add, f.set); err != nil {
		return f, err
	}
	switch src.Encoding {
	case contract.JSON, contract.Bytes:
		if f.contentType = contentJSON; src.Encoding == contract.Bytes {
			f.contentType = contentBytes
		}
		f.claim, err = t.compileClaim(&src.Claim, &f)
		return f, err
	}
	if f.versions, err = book.versions(src.Schema); err != nil {
		return f, err
	}
	if f.byDefault = defaultVersion(f.versions); f.byDefault != nil {
		f.defaultVersion = f.byDefault.text
	}
	f.claim, err = t.compileClaim(&src.Claim, &f)
	return f, err
}
