package deadletter

import (
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/cdc-relay/cdc-relay/internal/event"
)

// Version is the version of the format this relay writes.
const Version = 1

// State is what a letter is.
type State string

// The states.
const (
	Dead   State = "dead"   // the event could not be published
	Parked State = "parked" // it could, but has the key of a letter that holds it
	// Discarded is what is left of a letter somebody gave up: its headers without
	// its row.
	Discarded State = "discarded"
	// Redriven is a tombstone. Compaction removes it delete.retention.ms later.
	Redriven State = "redriven"
)

// Open reports whether somebody has to do something about it.
func (s State) Open() bool { return s == Dead || s == Parked }

// Letter is a dead letter, all but its row.
type Letter struct {
	ID     string `json:"id"`
	State  State  `json:"state"`
	Policy string `json:"policy,omitempty"` // on_error of its event
	Class  string `json:"class,omitempty"`  // of the reason, a word: the metric's label
	Reason string `json:"reason,omitempty"`
	Path   string `json:"path,omitempty"` // in the payload, as in data.results[3].score
	Rule   string `json:"rule,omitempty"` // what the value there breaks
	Next   string `json:"next,omitempty"` // what may be changed

	EventType string         `json:"event_type,omitempty"`
	EventID   string         `json:"event_id,omitempty"` // as its record would have had it
	RowID     string         `json:"row_id,omitempty"`
	Key       string         `json:"key,omitempty"` // of its record, where that could be told
	Table     string         `json:"table,omitempty"`
	Pos       event.Position `json:"-"`
	XID       uint32         `json:"xid"`
	Commit    int64          `json:"-"` // commit time in Postgres, microseconds since the Unix epoch

	Database string `json:"database,omitempty"`
	Relay    string `json:"relay_version,omitempty"` // that wrote it

	Share Share `json:"-"` // of dead letters among the last events, this one included

	Behind string `json:"behind,omitempty"` // the letter a parked one waits for
	Holds  []Hold `json:"holds,omitempty"`  // what it holds; nil: nothing

	// First is the offset at which it was written first, when it was written
	// again since because a redrive failed; -1: it was not.
	First int64 `json:"-"`

	// Of one that is resolved.
	Redrive    string `json:"redrive_id,omitempty"` // the value of cdc_redrive_id
	ResolvedBy string `json:"resolved_by,omitempty"`
	ResolvedAt string `json:"resolved_at,omitempty"` // RFC 3339
}

// Replay is the id of the replay whose copy of the event the letter is; "" it is
// of the event itself.
func (l *Letter) Replay() string {
	_, id, _ := strings.Cut(l.ID, "@")
	return id
}

// The headers of a letter. Times are RFC 3339 in UTC, all text is UTF-8.
const (
	headerVersion    = "cdc_dlq_version"
	headerState      = "cdc_dlq_state"
	headerPolicy     = "cdc_dlq_policy"
	headerClass      = "cdc_dlq_class"
	headerReason     = "cdc_dlq_reason"
	headerPath       = "cdc_dlq_path"
	headerRule       = "cdc_dlq_rule"
	headerNext       = "cdc_dlq_next"
	headerEventType  = "cdc_dlq_event_type"
	headerEventID    = "cdc_dlq_event_id"
	headerRowID      = "cdc_dlq_row_id"
	headerKey        = "cdc_dlq_key"
	headerTable      = "cdc_dlq_table"
	headerLSN        = "cdc_dlq_lsn"
	headerOrdinal    = "cdc_dlq_ordinal"
	headerXID        = "cdc_dlq_xid"
	headerCommitTime = "cdc_dlq_commit_time"
	headerDatabase   = "cdc_dlq_database"
	headerRelay      = "cdc_dlq_relay_version"
	headerShare      = "cdc_dlq_share"
	headerBehind     = "cdc_dlq_behind"
	headerHolds      = "cdc_dlq_holds"
	headerFirst      = "cdc_dlq_first_offset"
	headerResolvedBy = "cdc_dlq_resolved_by"
	headerResolvedAt = "cdc_dlq_resolved_at"
)

// timeForm has microseconds, so that a commit time reads back as it was.
const timeForm = "2006-01-02T15:04:05.000000Z"

// Headers are the headers of the letter's record. They are the caller's.
func (l *Letter) Headers() []event.Header {
	hs := make([]event.Header, 0, 24)
	add := func(name, value string) {
		if value != "" {
			hs = append(hs, event.Header{Key: name, Value: []byte(value)})
		}
	}
	add(headerVersion, strconv.Itoa(Version))
	add(headerState, string(l.State))
	add(headerPolicy, l.Policy)
	add(headerClass, l.Class)
	add(headerReason, l.Reason)
	add(headerPath, l.Path)
	add(headerRule, l.Rule)
	add(headerNext, l.Next)
	add(headerEventType, l.EventType)
	add(headerEventID, l.EventID)
	add(headerRowID, l.RowID)
	add(headerKey, l.Key)
	add(headerTable, l.Table)
	add(headerLSN, l.Pos.Commit.String())
	add(headerOrdinal, strconv.FormatUint(l.Pos.Ord, 10))
	add(headerXID, strconv.FormatUint(uint64(l.XID), 10))
	add(headerCommitTime, time.UnixMicro(l.Commit).UTC().Format(timeForm))
	add(headerDatabase, l.Database)
	add(headerRelay, l.Relay)
	add(headerShare, l.Share.String())
	add(headerBehind, l.Behind)
	add(headerHolds, formatHolds(l.Holds))
	if l.First >= 0 {
		add(headerFirst, strconv.FormatInt(l.First, 10))
	}
	add(event.RedriveHeader, l.Redrive)
	add(headerResolvedBy, l.ResolvedBy)
	add(headerResolvedAt, l.ResolvedAt)
	return hs
}

// Resolve returns l as it is written when it was redriven or discarded.
func (l Letter) Resolve(as State, by, id string, at time.Time) Letter {
	l.State, l.ResolvedBy, l.Redrive, l.ResolvedAt = as, by, id, at.UTC().Format(time.RFC3339)
	l.Holds, l.Behind, l.Next = nil, "", ""
	return l
}

// Parse reads a letter from the key and the headers of its record. No header
// but the version is required of a tombstone: somebody may have written one by
// hand.
func Parse(key []byte, headers []event.Header, tombstone bool) (Letter, error) {
	l := Letter{ID: string(key), First: -1}
	version := ""
	var err error
	for _, h := range headers {
		if h.Key == headerVersion {
			version = string(h.Value)
			continue
		}
		if e := l.take(h.Key, string(h.Value)); e != nil && err == nil {
			err = fmt.Errorf("dead letter %s: header %s: %w", key, h.Key, e)
		}
	}
	if tombstone {
		l.State, l.Holds = Redriven, nil
		return l, nil
	}
	if n, verr := strconv.Atoi(version); verr != nil || n < 1 || n > Version {
		return l, fmt.Errorf("record with key %q: format %q of a dead letter, this relay reads up to %d", key, version, Version)
	}
	return l, err
}

// take reads one header; one it does not know is a newer relay's.
func (l *Letter) take(name, v string) (err error) {
	switch name {
	case headerState:
		l.State = State(v)
	case headerPolicy:
		l.Policy = v
	case headerClass:
		l.Class = v
	case headerReason:
		l.Reason = v
	case headerPath:
		l.Path = v
	case headerRule:
		l.Rule = v
	case headerNext:
		l.Next = v
	case headerEventType:
		l.EventType = v
	case headerEventID:
		l.EventID = v
	case headerRowID:
		l.RowID = v
	case headerKey:
		l.Key = v
	case headerTable:
		l.Table = v
	case headerDatabase:
		l.Database = v
	case headerRelay:
		l.Relay = v
	case headerBehind:
		l.Behind = v
	case event.RedriveHeader:
		l.Redrive = v
	case headerResolvedBy:
		l.ResolvedBy = v
	case headerResolvedAt:
		l.ResolvedAt = v
	default:
		return l.number(name, v)
	}
	return nil
}

// number reads the headers that are more than text.
func (l *Letter) number(name, v string) (err error) {
	switch name {
	case headerLSN:
		l.Pos.Commit, err = event.ParseLSN(v)
	case headerOrdinal:
		l.Pos.Ord, err = strconv.ParseUint(v, 10, 64)
	case headerXID:
		var n uint64
		n, err = strconv.ParseUint(v, 10, 32)
		l.XID = uint32(n)
	case headerCommitTime:
		var t time.Time
		t, err = time.Parse(timeForm, v)
		l.Commit = t.UnixMicro()
	case headerHolds:
		l.Holds, err = parseHolds(v)
	case headerShare:
		l.Share, err = parseShare(v)
	case headerFirst:
		l.First, err = strconv.ParseInt(v, 10, 64)
	}
	return err
}
