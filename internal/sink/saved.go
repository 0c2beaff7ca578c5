package sink

import (
	"encoding/json"
	"fmt"

	"github.com/cdc-relay/cdc-relay/internal/event"
	"github.com/cdc-relay/cdc-relay/internal/kafka"
)

// encode fills in what the sink knows and returns the value of the record.
func (s *Sink) encode(saved event.Saved) ([]byte, error) {
	saved.V, saved.IDs, saved.ClusterID, saved.Version = event.SavedVersion, s.opt.IDs, s.clusterID, s.opt.RelayVersion
	value, err := json.Marshal(saved)
	if err != nil {
		return nil, fmt.Errorf("encode the checkpoint: %w", err)
	}
	return value, nil
}

// decode reads a checkpoint. Fields it does not know are a newer relay's that
// kept the version, so they do not matter; a newer version does.
func decode(f kafka.Found) (event.Saved, error) {
	var saved event.Saved
	if err := json.Unmarshal(f.Value, &saved); err != nil {
		return event.Saved{}, fmt.Errorf("not a checkpoint: %w", err)
	}
	if saved.V < 1 || saved.V > event.SavedVersion {
		return event.Saved{}, fmt.Errorf("checkpoint of version %d, this relay reads up to %d: it was written by a newer relay (%q)", saved.V, event.SavedVersion, saved.Version)
	}
	saved.Offset, saved.Partition = f.Offset, f.Partition
	return saved, nil
}
