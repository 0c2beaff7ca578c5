package replay

import (
	"strings"
	"testing"

	"github.com/cdc-relay/cdc-relay/internal/event"
)

func TestMake(t *testing.T) {
	t.Parallel()
	live := event.Saved{V: 1}.At(event.Checkpoint{Last: event.Position{Commit: 0x500, Ord: 1}, Safe: 0x520})
	anchors := []event.Slot{
		{Name: "s", ConfirmedFlush: 0x520},
		{Name: "s__a", ConfirmedFlush: 0x100},
		{Name: "s__b", ConfirmedFlush: 0x200},
		{Name: "s__lost", ConfirmedFlush: 0x50, WALStatus: "lost"},
		{Name: "other__c", ConfirmedFlush: 0x10},
	}
	cases := []struct {
		name   string
		req    Request
		live   event.Saved
		slots  []event.Slot
		anchor string
		to     event.LSN
		err    string
	}{
		{name: "newest anchor before", req: Request{From: 0x250}, live: live, slots: anchors, anchor: "s__b", to: 0x500},
		{name: "anchor at the LSN", req: Request{From: 0x200}, live: live, slots: anchors, anchor: "s__b", to: 0x500},
		{name: "older anchor", req: Request{From: 0x1ff, To: 0x300}, live: live, slots: anchors, anchor: "s__a", to: 0x300},
		{name: "end beyond what is published", req: Request{From: 0x200, To: 0x900}, live: live, slots: anchors, anchor: "s__b", to: 0x500},
		{name: "before every anchor", req: Request{From: 0x60}, live: live, slots: anchors, err: "the earliest LSN an anchor of slot s keeps is 0/100\n  next: cdc-relay run --from-lsn 0/100"},
		{name: "no anchors", req: Request{From: 0x60}, live: live, slots: anchors[:1], err: "cdc-relay slots anchor NAME"},
		{name: "after what is published", req: Request{From: 0x501}, live: live, slots: anchors, err: "the last published transaction committed at 0/500"},
		{name: "backwards", req: Request{From: 0x300, To: 0x200}, live: live, slots: anchors, err: "is empty"},
		{name: "nothing published", req: Request{From: 0x300}, slots: anchors, err: "nothing to replay"},
	}
	for _, tc := range cases {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			p, err := Make(tc.req, "s", tc.live, tc.slots)
			if tc.err != "" {
				if err == nil || !strings.Contains(err.Error(), tc.err) || event.VerdictOf(err) != event.Refuse {
					t.Fatalf("error %v, want a refusal with %q", err, tc.err)
				}
				return
			}
			if err != nil || p.Anchor != tc.anchor || p.To != tc.to || p.From != tc.req.From {
				t.Errorf("plan %+v, %v", p, err)
			}
		})
	}
}

func TestNames(t *testing.T) {
	t.Parallel()
	full, err := AnchorSlot("cdc_relay_a_b", "before_release")
	if name, ok := AnchorName("cdc_relay_a_b", full); err != nil || !ok || name != "before_release" {
		t.Errorf("%q %v: %q %v", full, err, name, ok)
	}
	for _, bad := range []string{"", "UPPER", "a-b", strings.Repeat("x", 60)} {
		if full, err := AnchorSlot("cdc_relay_a_b", bad); err == nil {
			t.Errorf("anchor %q became %q", bad, full)
		}
	}
	p, _ := Make(Request{From: 0xABCDEF01}, strings.Repeat("s", 63), event.Saved{}, nil)
	if len(p.Slot) > maxSlotName || strings.ToLower(p.Slot) != p.Slot || strings.Contains(p.Slot, "-") {
		t.Errorf("temporary slot %q", p.Slot)
	}
}
