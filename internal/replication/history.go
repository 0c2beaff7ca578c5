package replication

import (
	"context"
	"fmt"
	"strconv"
	"strings"
	"sync"

	"github.com/jackc/pglogrepl"

	"github.com/cdc-relay/cdc-relay/internal/event"
)

// historyCache keeps the history of one timeline: the file never changes.
type historyCache struct {
	mu       sync.Mutex
	systemID string
	timeline uint32
	switches []event.Switch
}

// timelines returns the history of f's timeline. The file is had over a
// replication connection only, which is opened once per timeline. A role that
// may not replicate gets none; another guard refuses it.
func (s *Source) timelines(ctx context.Context, f *event.Facts) ([]event.Switch, error) {
	if f.Timeline <= 1 || !f.Replication {
		return nil, nil
	}
	c := &s.history
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.systemID == f.SystemID && c.timeline == f.Timeline {
		return c.switches, nil
	}
	ctx, cancel := context.WithTimeout(ctx, connectTimeout)
	defer cancel()
	pc, err := s.opts.dial(ctx, forReplication)
	if err != nil {
		return nil, fmt.Errorf("read the history of timeline %d: %w", f.Timeline, err)
	}
	defer func() { _ = closeBounded(ctx, pc) }() // the answer is in hand
	res, err := pglogrepl.TimelineHistory(ctx, pc, int32(f.Timeline))
	if err != nil {
		return nil, fmt.Errorf("read the history of timeline %d: %w", f.Timeline, err)
	}
	switches, err := parseHistory(string(res.Content))
	if err != nil {
		return nil, fmt.Errorf("%s: %w", res.FileName, err)
	}
	c.systemID, c.timeline, c.switches = f.SystemID, f.Timeline, switches
	return switches, nil
}

// parseHistory reads a timeline history file: per line the timeline that ended,
// the LSN where, and the reason; blank lines and # comments aside.
func parseHistory(text string) ([]event.Switch, error) {
	var list []event.Switch
	for i, line := range strings.Split(text, "\n") {
		line = strings.TrimSpace(line)
		if line == "" || line[0] == '#' {
			continue
		}
		fields := strings.Fields(line)
		if len(fields) < 2 {
			return nil, fmt.Errorf("line %d: want a timeline and an LSN, got %q", i+1, line)
		}
		tli, err := strconv.ParseUint(fields[0], 10, 32)
		if err != nil {
			return nil, fmt.Errorf("line %d: timeline %q is not a number", i+1, fields[0])
		}
		lsn, err := event.ParseLSN(fields[1])
		if err != nil {
			return nil, fmt.Errorf("line %d: %w", i+1, err)
		}
		if n := len(list); n > 0 && (uint32(tli) <= list[n-1].Timeline || lsn < list[n-1].At) {
			return nil, fmt.Errorf("line %d: timeline %d at %s after timeline %d at %s", i+1, tli, lsn, list[n-1].Timeline, list[n-1].At)
		}
		list = append(list, event.Switch{Timeline: uint32(tli), At: lsn})
	}
	return list, nil
}
