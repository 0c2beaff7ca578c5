package sink

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strconv"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/cdc-relay/cdc-relay/internal/crash"
	"github.com/cdc-relay/cdc-relay/internal/event"
	"github.com/cdc-relay/cdc-relay/internal/kafka"
)

// Options are what a Sink is made of.
type Options struct {
	// Name and Pipeline make the checkpoint key <name>/<pipeline> and the
	// transactional ids <name>/<pipeline>/0, /1, …
	Name, Pipeline string
	// Settings are the client properties, shared by the pipelines.
	Settings *kafka.Settings
	// CheckpointTopic is kafka.CheckpointTopic when empty.
	CheckpointTopic string
	// IDs is how many transactional ids take turns; 2 when 0. librdkafka waits
	// 20 ms before a transaction that follows its predecessor on the same id
	// before the commit markers are written.
	IDs int
	// Topics are those the contract names. Look refuses when one is missing;
	// topics chosen by a row are looked up before their first record.
	Topics []string
	// DeadLetters is the pipeline's dead letter topic; "" none. Unless
	// LettersNeeded it need not exist.
	DeadLetters   string
	LettersNeeded bool
	// Judge is asked about Topics, as the cluster has them, after they were found
	// usable: what it is concerned about is said at the fence, its error ends the
	// look. Nil: no judgement.
	Judge func(map[string]kafka.Topic) ([]kafka.Concern, error)
	// RelayVersion is written in every checkpoint.
	RelayVersion string
	// AcceptCluster lets a checkpoint of another Kafka cluster pass; for the
	// commands that mend it, never for run.
	AcceptCluster bool
	Logger        *slog.Logger
	// Registerer takes the metrics; nil: none are exposed. Pipelines of one
	// process tell themselves apart by a label the caller wraps around it.
	Registerer prometheus.Registerer
}

// Sink is the exactly-once writer of one pipeline. It implements relay.Sink.
//
// It belongs to one goroutine at a time. After any error but one of Look it
// must be closed; the same Sink is then opened again by Look … Read, and what
// it learnt about topics (a batch limit, a refused record) is kept over that.
type Sink struct {
	opt     Options
	key     string
	log     *slog.Logger
	metrics *metrics

	// While open.
	client    *kafka.Client
	clusterID string
	partition int32 // of the checkpoint; fixed by the first look
	topics    map[string]*kafka.Topic
	producers []*producer
	turn      int // index of the producer of the next transaction
	usable    bool
	doubt     error // the last commit may have been asked for twice; see doubted
	identity  event.Saved
	letters   *kafka.Follower // of the dead letters; nil: not asked for yet
	msg       message
	concerns  []kafka.Concern // about the topics; said at the fence, who only looks need not hear them
	warned    map[kafka.Concern]bool

	// Kept over Close.
	tight    map[string]bool // topics chosen by rows whose limit is below batch.size
	rejected bool            // the last transaction failed at a topic
}

// New returns a Sink. It neither connects nor starts anything.
func New(opt Options) *Sink {
	if opt.CheckpointTopic == "" {
		opt.CheckpointTopic = kafka.CheckpointTopic
	}
	if opt.IDs <= 0 {
		opt.IDs = 2
	}
	if opt.Logger == nil {
		opt.Logger = slog.New(slog.DiscardHandler)
	}
	return &Sink{
		opt: opt, key: opt.Name + "/" + opt.Pipeline,
		log:     opt.Logger.With("component", "sink"),
		metrics: newMetrics(opt.Registerer),
		warned:  map[kafka.Concern]bool{}, tight: map[string]bool{},
	}
}

// Key is the key of the pipeline's checkpoint: <name>/<pipeline>.
func (s *Sink) Key() string { return s.key }

// ClusterID is the id of the Kafka cluster; "" before the first Look.
func (s *Sink) ClusterID() string { return s.clusterID }

// id is the transactional id number i.
func (s *Sink) id(i int) string { return s.key + "/" + strconv.Itoa(i) }

// Look reads the checkpoint without fencing anyone, after it has made sure that
// the checkpoint topic is sound and every topic of the contract is there. It
// returns the last visible checkpoint, which may be older than one whose
// transaction is still open: enough to know whose it is, not enough to start
// from. When none is visible it waits until none can be hidden by an open
// transaction.
//
// It touches nothing, and may be called again after an error.
func (s *Sink) Look(ctx context.Context) (event.Saved, error) {
	if err := s.open(ctx); err != nil {
		return event.Saved{}, err
	}
	return s.read(ctx, true)
}

// Settled reads the checkpoint up to the read_uncommitted end of now, fencing
// nobody: every checkpoint committed before the call is seen, also one that an
// open transaction of another pipeline hides from Look.
func (s *Sink) Settled(ctx context.Context) (event.Saved, error) {
	if err := s.open(ctx); err != nil {
		return event.Saved{}, err
	}
	return s.read(ctx, false)
}

// Fence makes every producer anew and initialises their transactional ids, one
// after the other in ascending order. From then on every older producer of this
// pipeline is fenced, its open transaction aborted, and the next transaction
// uses id 0.
func (s *Sink) Fence(ctx context.Context) error {
	if s.client == nil {
		if err := s.open(ctx); err != nil {
			return err
		}
	}
	s.warn(s.concerns)
	s.dropProducers()
	for i := range s.opt.IDs {
		p, err := s.fenceOne(ctx, i)
		if err != nil {
			return err
		}
		s.producers = append(s.producers, p)
		if i == 0 {
			crash.Point(crash.FenceFirst)
		}
	}
	s.turn, s.usable = 0, true
	return nil
}

// fenceOne opens the producer number i and initialises its id.
func (s *Sink) fenceOne(ctx context.Context, i int) (*producer, error) {
	ctx, cancel := context.WithTimeout(ctx, s.opt.Settings.Patience())
	defer cancel()
	p, err := openProducer(s.opt.Settings, s.id(i), s.batchSize(), s.log)
	if err != nil {
		return nil, err
	}
	p.connect(ctx, s.opt.CheckpointTopic)
	if err := p.init(ctx); err != nil {
		err = s.fault(p, err, "initialise transactions")
		p.close()
		return nil, err
	}
	return p, nil
}

// Read reads the checkpoint with the authority of the fence. If it names more
// ids than were fenced (the pipeline was run with more before), those are
// fenced too and the checkpoint is read again.
func (s *Sink) Read(ctx context.Context) (event.Saved, error) {
	if err := s.ready(); err != nil {
		return event.Saved{}, err
	}
	fenced := s.opt.IDs
	for {
		saved, err := s.read(ctx, false)
		if err != nil || saved.IDs <= fenced {
			return saved, err
		}
		s.log.Info("the checkpoint names more transactional ids than were fenced; fencing those and reading again", "ids", saved.IDs, "fenced", fenced)
		for ; fenced < saved.IDs; fenced++ {
			p, err := s.fenceOne(ctx, fenced)
			if err != nil {
				return event.Saved{}, err
			}
			p.close() // fenced is all it should be; it takes no turn
		}
	}
}

// Save commits a transaction that carries only this checkpoint. Version, count
// of ids, cluster id and relay version are filled in.
func (s *Sink) Save(ctx context.Context, saved event.Saved) error {
	return s.transact(ctx, nil, saved)
}

// Resume gives the identity every later checkpoint carries.
func (s *Sink) Resume(saved event.Saved) { s.identity = saved }

// Commit produces the batch and its checkpoint in one transaction and returns
// nil only if the broker acknowledged the commit. The batch stays the caller's.
//
// Any error leaves the outcome to the next start: it may have been committed.
func (s *Sink) Commit(ctx context.Context, b *event.Batch) error {
	if err := s.admit(ctx, b.Records); err != nil {
		s.usable = false
		return err
	}
	t := s.metrics.begin()
	if err := s.transact(ctx, b.Records, s.identity.At(b.End)); err != nil {
		return err
	}
	s.metrics.committed(t, b)
	return nil
}

// Close drops the producers, with what they have in flight, and the admin
// client. It waits for no broker. The Sink can be opened again by Look.
func (s *Sink) Close() {
	s.dropProducers()
	if s.letters != nil {
		s.letters.Close()
	}
	if s.client != nil {
		s.client.Close()
	}
	s.client, s.letters, s.clusterID, s.topics, s.identity = nil, nil, "", nil, event.Saved{}
}

func (s *Sink) dropProducers() {
	s.usable, s.doubt = false, nil
	closeAll(s.producers)
	s.producers = s.producers[:0]
}

// ready says why no transaction may be begun.
func (s *Sink) ready() error {
	switch {
	case s.doubt != nil:
		return s.doubt
	case !s.usable:
		return errNotOpen
	}
	return nil
}

var errNotOpen = errors.New("the sink is not open: after an error it must be closed and started again (Look, Fence, Read)")

// open connects the admin client, checks the topics and learns their limits.
func (s *Sink) open(ctx context.Context) error {
	if s.client == nil {
		c, err := kafka.Open(s.opt.Settings, s.log)
		if err != nil {
			return err
		}
		s.client = c
	}
	if err := s.learn(ctx); err != nil {
		return err
	}
	id, err := s.client.ClusterID(ctx)
	if err != nil {
		return err
	}
	s.clusterID = id
	return nil
}

// read finds and decodes the last checkpoint.
func (s *Sink) read(ctx context.Context, visible bool) (event.Saved, error) {
	f, err := s.client.ReadLast(ctx, kafka.Query{Topic: s.opt.CheckpointTopic, Key: s.key, Visible: visible})
	if err != nil || !f.Exists {
		return event.Saved{}, err
	}
	saved, err := decode(f)
	if err != nil {
		return event.Saved{}, s.unreadable(f, err)
	}
	if saved.ClusterID != "" && s.clusterID != "" && saved.ClusterID != s.clusterID && !s.opt.AcceptCluster {
		return event.Saved{}, event.Refusef(
			"point bootstrap.servers at that cluster; if this one takes over from it: cdc-relay slots recreate --accept-gap --accept-foreign, which goes on from now",
			"pipeline %s: the checkpoint in topic %q was written on Kafka cluster %s, but this is cluster %s: what was committed there may not be here",
			s.key, s.opt.CheckpointTopic, saved.ClusterID, s.clusterID)
	}
	return saved, nil
}

func (s *Sink) unreadable(f kafka.Found, err error) error {
	fault := event.Refusef(
		fmt.Sprintf("kafka-console-consumer.sh --bootstrap-server %s --topic %s --partition %d --offset %d --max-messages 1; if it is garbage: write a tombstone (key %s, null value) behind it, then cdc-relay slots adopt", s.opt.Settings.Bootstrap(), s.opt.CheckpointTopic, f.Partition, f.Offset, s.key),
		"pipeline %s: the checkpoint at %s[%d]@%d cannot be read", s.key, s.opt.CheckpointTopic, f.Partition, f.Offset)
	fault.Err = err
	return fault
}
