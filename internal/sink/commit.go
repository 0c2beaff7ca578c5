package sink

import (
	"context"
	"fmt"
	"time"

	ck "github.com/confluentinc/confluent-kafka-go/v2/kafka"

	"github.com/cdc-relay/cdc-relay/internal/crash"
	"github.com/cdc-relay/cdc-relay/internal/event"
	"github.com/cdc-relay/cdc-relay/internal/kafka"
)

// transact is the one place where a transaction is made. The steps are named
// because each arrow between them is a place to crash:
//
//	begin → records → checkpoint → commit → acknowledged
//
// It begins only now, with everything at hand: an open transaction that waits
// for anything else dies of its timeout. The checkpoint comes last.
func (s *Sink) transact(ctx context.Context, records []event.Record, saved event.Saved) error {
	value, err := s.encode(saved)
	if err != nil {
		return err
	}
	return s.transaction(ctx, records, value)
}

// transaction is transact with the value of the checkpoint; nil deletes it.
func (s *Sink) transaction(ctx context.Context, records []event.Record, value []byte) error {
	if err := s.ready(); err != nil {
		return err
	}
	// Only a clean commit makes the sink usable again.
	s.usable = false
	if err := ctx.Err(); err != nil {
		return fmt.Errorf("before the transaction: %w", err) // nothing is open yet: leave nothing open
	}
	ctx, cancel := context.WithTimeout(ctx, s.opt.Settings.Patience())
	defer cancel()
	p := s.producers[s.turn]
	s.metrics.turn.Set(float64(s.turn))

	if err := p.begin(); err != nil {
		return s.fault(p, err, "begin transaction")
	}
	crash.Point(crash.TxnBegun)
	if err := s.produce(ctx, p, records, value); err != nil {
		s.giveUp(ctx, p)
		return err
	}
	crash.Point(crash.TxnCheckpoint)
	within, err := p.commit(ctx)
	if err != nil {
		return s.uncommitted(ctx, p, err)
	}
	crash.Point(crash.TxnCommitted)

	s.metrics.endTxn.Observe(within.Seconds())
	s.rejected = false
	if within >= kafka.AskedOnce {
		s.doubted(p, within)
		return nil
	}
	s.turn = (s.turn + 1) % len(s.producers)
	s.usable = true
	return nil
}

// doubted takes note of a commit that the library may have asked for twice. It
// counts: the broker has answered that it is done. But the other request may be
// on its way still, and would commit whatever the next transaction of that id
// holds when it arrives, because the epoch is the same (KIP-890). So nothing more
// is produced: only a fence makes that request worthless, and only a start
// fences, since without the slot we would fence our successor.
func (s *Sink) doubted(p *producer, within time.Duration) {
	s.metrics.inDoubt.Inc()
	s.doubt = &event.Fault{
		What: fmt.Sprintf("the commit on transactional id %q was answered after %s and may have been asked for twice: the transactional ids are fenced before anything else is produced",
			p.id, within.Round(time.Millisecond)),
		Do: fmt.Sprintf("nothing, if it is rare; if it happens again and again: find out why the brokers take %s and longer for a commit (__transaction_state: its replicas, disks, load)", kafka.AskedOnce),
	}
	s.log.Warn("a commit was answered late and may have been asked for twice; it counts, and before anything else is produced the transactional ids are fenced and the checkpoint is read",
		"transactional_id", p.id, "took", within, "sure_below", kafka.AskedOnce)
}

// Doubt is not nil when the last commit, which succeeded, may have been asked for
// twice: an event.Fault for the recovery path. Until the Sink is started again no
// transaction is begun; each attempt returns the same error.
func (s *Sink) Doubt() error { return s.doubt }

// produce hands the records and then the checkpoint to p.
func (s *Sink) produce(ctx context.Context, p *producer, records []event.Record, value []byte) error {
	for i := range records {
		if err := p.produce(ctx, s.msg.record(&records[i])); err != nil {
			return s.unproduced(p, &records[i], err)
		}
		crash.Point(crash.TxnProduced)
	}
	crash.Point(crash.TxnRecords)
	if err := p.produce(ctx, s.msg.checkpoint(&s.opt.CheckpointTopic, s.partition, s.key, value)); err != nil {
		return s.fault(p, s.because(p, err), "produce the checkpoint")
	}
	return nil
}

// message is one reused message of the library: Produce copies it before it
// returns.
type message struct {
	m       ck.Message
	headers []ck.Header
}

func (m *message) record(r *event.Record) *ck.Message {
	m.headers = m.headers[:0]
	for i := range r.Headers {
		m.headers = append(m.headers, ck.Header(r.Headers[i]))
	}
	m.m = ck.Message{
		TopicPartition: ck.TopicPartition{Topic: r.Topic, Partition: ck.PartitionAny},
		Key:            r.Key, Value: r.Value, Headers: m.headers,
	}
	if r.Time != 0 {
		m.m.Timestamp = time.UnixMicro(r.Time)
	}
	return &m.m
}

func (m *message) checkpoint(topic *string, partition int32, key string, value []byte) *ck.Message {
	m.m = ck.Message{TopicPartition: ck.TopicPartition{Topic: topic, Partition: partition}, Key: []byte(key), Value: value}
	return &m.m
}

// unproduced explains a record the library did not take.
func (s *Sink) unproduced(p *producer, r *event.Record, err error) error {
	if e, ok := kafka.AsError(err); ok && e.Code() == ck.ErrMsgSizeTooLarge {
		s.metrics.failed(err)
		return &event.Fault{
			Verdict: event.Stop,
			What:    fmt.Sprintf("%s takes %d bytes, more than the client's message.max.bytes", named(r), kafka.Size(r)),
			Do:      "raise kafka property message.max.bytes, or make the event smaller at its source",
			Err:     err,
		}
	}
	return s.fault(p, s.because(p, err), "produce "+named(r))
}

// because adds the reason the library keeps for the transactional calls to a
// bare state error.
func (s *Sink) because(p *producer, err error) error {
	e, ok := kafka.AsError(err)
	if !ok || e.Code() != ck.ErrState {
		return err
	}
	if why := p.reason(); why != nil {
		return why
	}
	return err
}

// uncommitted judges a commit that did not succeed. Only an error whose flag
// asks for it is followed by an abort: with any other the outcome is unknown,
// and the next start reads it.
func (s *Sink) uncommitted(ctx context.Context, p *producer, err error) error {
	if e, ok := kafka.AsError(err); ok && e.TxnRequiresAbort() {
		fault := s.fault(p, err, "commit transaction")
		s.giveUp(ctx, p)
		return fault
	}
	return s.fault(p, err, "commit transaction")
}

// giveUp aborts, within bounds, so that readers need not wait for the timeout
// of a transaction nobody will go on with.
func (s *Sink) giveUp(ctx context.Context, p *producer) {
	s.metrics.aborts.Inc()
	crash.Point(crash.TxnAborting)
	if err := p.abort(ctx); err != nil {
		s.log.Debug("the transaction could not be aborted now; the next start aborts it", "transactional_id", p.id, "err", err)
	}
	crash.Point(crash.TxnAborted)
}

// fault classifies err in the one function that does, and remembers whether a
// topic was the cause: what a topic refuses twice is not tried for ever.
func (s *Sink) fault(p *producer, err error, doing string) error {
	s.metrics.failed(err)
	fault := kafka.Classify(err, p.p.GetFatalError(), kafka.Where{
		Doing: doing, ID: p.id, Bootstrap: s.opt.Settings.Bootstrap(), Hint: p.drained.Hint(), Again: s.rejected,
	})
	if kafka.Rejected(err) {
		s.rejected = true // until a commit
	}
	return fault
}

// named names a record for people: topic and event_id.
func named(r *event.Record) string {
	topic := ""
	if r.Topic != nil {
		topic = *r.Topic
	}
	for i := range r.Headers {
		if r.Headers[i].Key == "event_id" {
			return fmt.Sprintf("the record with event_id %s for topic %q", r.Headers[i].Value, topic)
		}
	}
	return fmt.Sprintf("a record with key %q for topic %q", r.Key, topic)
}

// stop is a Fault about one record.
func stop(do, format string, args ...any) error {
	return &event.Fault{Verdict: event.Stop, What: fmt.Sprintf(format, args...), Do: do}
}
