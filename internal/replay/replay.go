package replay

import (
	"fmt"
	"strings"

	"github.com/cdc-relay/cdc-relay/internal/event"
)

// anchorMark stands between a pipeline's slot and the name of an anchor.
const anchorMark = "__"

// maxSlotName is Postgres' limit (NAMEDATALEN - 1), in bytes.
const maxSlotName = 63

// AnchorSlot is the name of the slot that keeps the anchor called name: a copy
// of the pipeline's slot that nobody streams from, so that Postgres keeps the
// log from there on.
func AnchorSlot(slot, name string) (string, error) {
	full := slot + anchorMark + name
	for _, r := range name {
		if (r < 'a' || r > 'z') && (r < '0' || r > '9') && r != '_' {
			return "", fmt.Errorf("anchor %q: want lower-case letters, digits and underscores", name)
		}
	}
	if name == "" || len(full) > maxSlotName {
		return "", fmt.Errorf("anchor %q: want 1 to %d characters (the slot is called %s)", name, maxSlotName-len(slot)-len(anchorMark), full)
	}
	return full, nil
}

// AnchorName is the reverse of AnchorSlot.
func AnchorName(slot, full string) (name string, ok bool) {
	return strings.CutPrefix(full, slot+anchorMark)
}

// Request is what the flags ask for.
type Request struct {
	From event.LSN
	To   event.LSN // 0: up to what the live pipeline has published
}

// ID names the replay: the same flags are the same replay, so that a container
// that restarts with them does not publish the range again.
func (r Request) ID() string {
	id := strings.ReplaceAll(r.From.String(), "/", "-")
	if r.To != 0 {
		id += "_" + strings.ReplaceAll(r.To.String(), "/", "-")
	}
	return id
}

// Plan is a replay that can be run.
type Plan struct {
	ID     string
	Anchor string // the slot to copy
	Slot   string // the name of the temporary copy
	From   event.LSN
	To     event.LSN // the last commit LSN
}

// Make chooses the newest anchor at or before the range. live is the checkpoint
// of the pipeline itself: what it has not published yet it publishes itself, so
// a range ends there at the latest. slots are those of the database.
func Make(req Request, slot string, live event.Saved, slots []event.Slot) (Plan, error) {
	p := Plan{ID: req.ID(), From: req.From, To: req.To}
	p.Slot = temporary(slot, p.ID)
	published := live.Checkpoint().Last.Commit
	if published != 0 && live.Safe <= published {
		// The live pipeline is inside this transaction: it sends the rest itself.
		published--
	}
	if published == 0 {
		return p, event.Refusef("cdc-relay run, without --from-lsn", "the pipeline has not published anything yet: there is nothing to replay")
	}
	if p.To == 0 || p.To > published {
		p.To = published
	}
	if p.From == 0 || p.From > p.To {
		return p, event.Refusef(fmt.Sprintf("cdc-relay run --from-lsn LSN with an LSN up to %s", p.To),
			"the range %s to %s is empty: the last published transaction committed at %s", req.From, p.To, published)
	}
	var earliest event.LSN
	var best event.Slot
	for _, s := range slots {
		if _, ok := AnchorName(slot, s.Name); !ok || s.WALStatus == "lost" || s.Invalid != "" {
			continue
		}
		if earliest == 0 || s.ConfirmedFlush < earliest {
			earliest = s.ConfirmedFlush
		}
		if s.ConfirmedFlush <= p.From && s.ConfirmedFlush >= best.ConfirmedFlush {
			best = s
		}
	}
	p.Anchor = best.Name
	switch {
	case earliest == 0:
		return p, event.Refusef("cdc-relay slots anchor NAME, which keeps the log from now on for a later replay",
			"slot %s has no anchor, so Postgres keeps nothing before its present position: %s is out of range", slot, req.From)
	case best.Name == "":
		return p, event.Refusef(fmt.Sprintf("cdc-relay run --from-lsn %s", earliest),
			"%s is out of range: the earliest LSN an anchor of slot %s keeps is %s", req.From, slot, earliest)
	}
	return p, nil
}

// temporary names the copy that is streamed from; it lives as long as its
// session.
func temporary(slot, id string) string {
	tail := "_r" + strings.ToLower(strings.NewReplacer("-", "_").Replace(id))
	return slot[:min(len(slot), maxSlotName-len(tail))] + tail
}
