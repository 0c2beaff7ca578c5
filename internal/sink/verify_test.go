package sink

import (
	"encoding/binary"
	"errors"
	"hash/crc32"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"
	"github.com/twmb/franz-go/pkg/kversion"

	"github.com/cdc-relay/cdc-relay/test/stack"
)

// A record that a dead relay had on its way arrives when its transaction is over.
// Nothing of ours could keep it out of the next one: the broker does (KIP-890 part
// 1, Kafka 3.6), and docs/guarantees.md demands a broker that does.
func TestLateRecordIsRefusedByTheBroker(t *testing.T) {
	t.Parallel()
	k := stack.Broker(t)
	topic := k.Topic(t, 1, nil)
	w := &wire{t: t, id: topic + "/0", topic: topic}
	var err error
	if w.cl, err = kgo.NewClient(kgo.SeedBrokers(k.Bootstrap()), kgo.MaxVersions(kversion.V3_5_0())); err != nil { // transactions V1
		t.Fatal(err)
	}
	t.Cleanup(w.cl.Close)
	pid, elder := w.init()
	w.add(pid, elder)
	w.end(pid, elder, false)
	if err := w.produce(pid, elder, 0, "late"); !errors.Is(err, kerr.InvalidTxnState) {
		t.Errorf("with nothing open: %v, want INVALID_TXN_STATE", err)
	}
	pid, younger := w.init()
	if err := w.produce(pid, elder, 0, "later"); !errors.Is(err, kerr.InvalidProducerEpoch) {
		t.Errorf("behind the fence: %v, want INVALID_PRODUCER_EPOCH", err)
	}
	w.add(pid, younger)
	if err := w.produce(pid, younger, 0, "in time"); err != nil {
		t.Fatal(err)
	}
	w.end(pid, younger, true)
	if got := newBench(t, k).committed(topic); len(got) != 1 || string(got[0].Value) != "in time" {
		t.Errorf("committed: %v", got)
	}
}

// wire sends the requests of a producer one by one, in any order.
type wire struct {
	t         *testing.T
	cl        *kgo.Client
	id, topic string
}

// settled asks again while the broker says that it is not so far yet: markers are
// being written, or it has just become leader.
func (w *wire) settled(ask func() (code int16, err error)) error {
	for {
		code, err := ask()
		if err != nil {
			w.t.Fatal(err)
		}
		if err := kerr.ErrorForCode(code); err == nil || !kerr.IsRetriable(err) {
			return err
		}
		select {
		case <-time.After(20 * time.Millisecond):
		case <-w.t.Context().Done():
			w.t.Fatal(w.t.Context().Err())
		}
	}
}

func (w *wire) must(err error) {
	w.t.Helper()
	if err != nil {
		w.t.Fatal(err)
	}
}

func (w *wire) init() (pid int64, epoch int16) {
	w.must(w.settled(func() (int16, error) {
		q := kmsg.NewPtrInitProducerIDRequest()
		q.TransactionalID, q.TransactionTimeoutMillis, q.ProducerID, q.ProducerEpoch = &w.id, 60_000, -1, -1
		a, err := q.RequestWith(w.t.Context(), w.cl)
		if err != nil {
			return 0, err
		}
		pid, epoch = a.ProducerID, a.ProducerEpoch
		return a.ErrorCode, nil
	}))
	return pid, epoch
}

func (w *wire) add(pid int64, epoch int16) {
	w.must(w.settled(func() (int16, error) {
		q := kmsg.NewPtrAddPartitionsToTxnRequest()
		q.TransactionalID, q.ProducerID, q.ProducerEpoch = w.id, pid, epoch
		topic := kmsg.NewAddPartitionsToTxnRequestTopic()
		topic.Topic, topic.Partitions = w.topic, []int32{0}
		q.Topics = append(q.Topics, topic)
		a, err := q.RequestWith(w.t.Context(), w.cl)
		if err != nil {
			return 0, err
		}
		return a.Topics[0].Partitions[0].ErrorCode, nil
	}))
}

func (w *wire) end(pid int64, epoch int16, commit bool) {
	w.must(w.settled(func() (int16, error) {
		q := kmsg.NewPtrEndTxnRequest()
		q.TransactionalID, q.ProducerID, q.ProducerEpoch, q.Commit = w.id, pid, epoch, commit
		a, err := q.RequestWith(w.t.Context(), w.cl)
		if err != nil {
			return 0, err
		}
		return a.ErrorCode, nil
	}))
}

// produce sends a batch of one record and returns the broker's error.
func (w *wire) produce(pid int64, epoch int16, sequence int32, value string) error {
	return w.settled(func() (int16, error) {
		q := kmsg.NewPtrProduceRequest()
		q.TransactionID, q.Acks, q.TimeoutMillis = &w.id, -1, 10_000
		topic, part := kmsg.NewProduceRequestTopic(), kmsg.NewProduceRequestTopicPartition()
		topic.Topic, part.Records = w.topic, transactional(pid, epoch, sequence, value)
		topic.Partitions = append(topic.Partitions, part)
		q.Topics = append(q.Topics, topic)
		a, err := q.RequestWith(w.t.Context(), w.cl)
		if err != nil {
			return 0, err
		}
		return a.Topics[0].Partitions[0].ErrorCode, nil
	})
}

// transactional is a record batch of message format 2 with one record.
func transactional(pid int64, epoch int16, sequence int32, value string) []byte {
	const isTransactional = 0x10
	r := kmsg.Record{Value: []byte(value)}
	r.Length = int32(len(r.AppendTo(nil)) - 1) // without the length itself, one byte here
	now := time.Now().UnixMilli()
	b := kmsg.RecordBatch{PartitionLeaderEpoch: -1, Magic: 2, Attributes: isTransactional, ProducerID: pid, ProducerEpoch: epoch,
		FirstSequence: sequence, NumRecords: 1, Records: r.AppendTo(nil), FirstTimestamp: now, MaxTimestamp: now}
	raw := b.AppendTo(nil)
	const length, crc, covered = 8, 17, 21 // offsets in the batch
	binary.BigEndian.PutUint32(raw[length:], uint32(len(raw)-length-4))
	binary.BigEndian.PutUint32(raw[crc:], crc32.Checksum(raw[covered:], crc32.MakeTable(crc32.Castagnoli)))
	return raw
}
