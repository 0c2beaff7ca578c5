package fleet

import (
	"context"
	"slices"

	"github.com/cdc-relay/cdc-relay/internal/audit"
	"github.com/cdc-relay/cdc-relay/internal/event"
	"github.com/cdc-relay/cdc-relay/internal/kafka"
	"github.com/cdc-relay/cdc-relay/internal/replay"
	"github.com/cdc-relay/cdc-relay/internal/replication"
)

// describe fetches the rows of the findings, and says what people ask for: the
// comparison knows events by their digest only.
func (a *auditor) describe(ctx context.Context) error {
	details := make([]audit.Detail, len(a.result.Findings))
	var places []replication.TableRow
	var of []int // places → details
	for i := range a.result.Findings {
		f := &a.result.Findings[i]
		d := &details[i]
		d.Kind, d.Records = f.Kind, audit.Spots(f.Records)
		if f.Row == nil {
			d.EventID, d.Topic = f.Records[0].ID.Text(f.Records[0].Hashed), a.cmp.TopicName(f.Records[0].Topic)
			continue
		}
		d.EventID, d.Topic = f.Row.ID.Text(f.Row.Hashed), a.cmp.TopicName(f.Row.Topic)
		d.Created, d.XID = audit.Time(f.Row.Created), f.Row.XID
		places = append(places, placeOf(f.Row.Place))
		of = append(of, i)
	}
	n := 0
	err := a.snap.Fetch(ctx, places, func(r *replication.TableRow) error {
		d := &details[of[n]]
		n++
		d.RowID, d.Commit = a.rowID(r), audit.Time(r.Commit)
		records, err := a.records(r)
		if err != nil {
			return err
		}
		for i := range records {
			if *records[i].Topic == d.Topic {
				d.Key, d.EventID = string(records[i].Key), string(identity(headersOf(&records[i])))
				break
			}
		}
		return nil
	})
	if err == nil {
		err = a.lookUp(ctx, details)
	}
	if err == nil && a.req.Anchor != "" {
		err = a.lookIntoLog(ctx, details)
	}
	a.report.Details = append(details, a.report.Details...)
	return err
}

// anchored finds the slot of the anchor that was asked for: better now than
// when everything was compared.
func (a *auditor) anchored(ctx context.Context, src *replication.Source) error {
	if a.req.Anchor == "" {
		return nil
	}
	var err error
	if a.anchor, err = replay.AnchorSlot(a.cfg.Slot, a.req.Anchor); err != nil {
		return &UsageError{"--anchor: " + err.Error()}
	}
	slots, err := src.ListSlots(ctx)
	if err != nil {
		return err
	}
	if !slices.ContainsFunc(slots, func(s replication.SlotInfo) bool { return s.Name == a.anchor }) {
		return event.Refusef("cdc-relay slots list", "there is no anchor %q (slot %s)", a.req.Anchor, a.anchor)
	}
	return nil
}

// lookIntoLog finds the commit LSNs of rows in the log that an anchor keeps.
func (a *auditor) lookIntoLog(ctx context.Context, details []audit.Detail) error {
	var xids []uint32
	for i := range details {
		if details[i].XID != 0 {
			xids = append(xids, details[i].XID)
		}
	}
	if len(xids) == 0 {
		return nil
	}
	src := replication.New(a.source())
	defer func() { _ = src.Close(context.WithoutCancel(ctx)) }() // nothing is streamed
	a.req.Progress("decoding the log of anchor "+a.req.Anchor, 0, 0)
	lsns, err := src.CommitLSNs(ctx, a.anchor, xids)
	for i := range details {
		if lsn, ok := lsns[details[i].XID]; ok {
			details[i].LSN = lsn.String()
		}
	}
	return err
}

// maxLookUps is how many records are read again for their key and id.
const maxLookUps = 500

// lookUp reads the first record of each finding that has no row again.
func (a *auditor) lookUp(ctx context.Context, details []audit.Detail) error {
	var places []kafka.Span
	var of []int // places → details
	for i := range details {
		if d := &details[i]; d.RowID == "" && len(d.Records) > 0 && len(places) < maxLookUps {
			places = append(places, kafka.Span{Topic: d.Topic, Partition: d.Records[0].Partition, From: d.Records[0].Offset})
			of = append(of, i)
		}
	}
	if len(places) == 0 {
		return nil
	}
	return a.client.ReadAt(ctx, places, func(s *kafka.Scanned) error {
		d := &details[of[s.Span]]
		d.Key, d.EventID = string(s.Key), string(identity(s.Header))
		d.Records[0].EventID = d.EventID
		return nil
	})
}

func placeOf(p audit.Place) replication.TableRow {
	return replication.TableRow{Part: p.Part, Block: p.Block, Tuple: p.Tuple}
}
