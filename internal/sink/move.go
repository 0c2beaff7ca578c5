package sink

import (
	"context"
	"errors"

	"github.com/cdc-relay/cdc-relay/internal/event"
)

// MoveTo ends the life of the pipeline under s's name and begins it under to's:
// one transaction that carries the checkpoint under to's key and a tombstone
// under s's, on two partitions. s must be open to its Read, to at least to its
// Look.
//
// The transaction is one of s's ids: a relay that still runs under the old name
// and takes the slot from us fences it, and then nothing was moved.
func (s *Sink) MoveTo(ctx context.Context, to *Sink, saved event.Saved) error {
	if to.clusterID == "" || to.opt.CheckpointTopic != s.opt.CheckpointTopic {
		return errors.New("move the checkpoint: the other sink was not opened by Look, or has another checkpoint topic")
	}
	value, err := to.encode(saved)
	if err != nil {
		return err
	}
	// The partitioner is murmur2, so the record is on the partition where to
	// looks for its key.
	under := event.Record{Topic: &s.opt.CheckpointTopic, Key: []byte(to.key), Value: value}
	return s.transaction(ctx, []event.Record{under}, nil)
}
