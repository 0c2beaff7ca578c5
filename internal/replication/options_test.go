package replication

import (
	"encoding/hex"
	"strings"
	"testing"
	"time"

	"github.com/cdc-relay/cdc-relay/internal/event"
)

func TestValidate(t *testing.T) {
	t.Parallel()
	good := Options{URL: "postgres://a:b@h1:1,h2:2/d", Slot: "s_1", Publication: "p", Tables: []string{"public.outbox"}}
	if err := good.Validate(); err != nil {
		t.Fatal(err)
	}
	for want, change := range map[string]func(*Options){
		`slot "S"`:           func(o *Options) { o.Slot = "S" },
		`slot ""`:            func(o *Options) { o.Slot = "" },
		`anchor "a b"`:       func(o *Options) { o.CopyOf = "a b" },
		"name of its own":    func(o *Options) { o.CopyOf = o.Slot },
		"publication":        func(o *Options) { o.Publication = strings.Repeat("p", 64) },
		"sender timeout 1ms": func(o *Options) { o.SenderTimeout = time.Millisecond },
		`table "outbox"`:     func(o *Options) { o.Tables = []string{"outbox"} },
		"connection string":  func(o *Options) { o.URL = "postgres://a:secret@h:x/d" },
	} {
		o := good
		change(&o)
		err := o.Validate()
		if err == nil || !strings.Contains(err.Error(), want) || strings.Contains(err.Error(), "secret") {
			t.Errorf("got %v, want %q and no password", err, want)
		}
	}
}

func TestFingerprintTellsStreamsApart(t *testing.T) {
	t.Parallel()
	a, b := Options{Slot: "s"}, Options{Slot: "t", Publication: "p", MessagePrefix: "evt"}
	if a.Fingerprint() == b.Fingerprint() {
		t.Error("with and without messages the ordinals differ, the fingerprints do not")
	}
	if c := (Options{MessagePrefix: "other"}); b.Fingerprint() != c.Fingerprint() {
		t.Error("the prefix changes no ordinal, but the fingerprint")
	}
}

func TestQuoting(t *testing.T) {
	t.Parallel()
	o := Options{Publication: `a"b'c`}
	if got, want := o.pluginArgs()[1], `publication_names '"a""b''c"'`; got != want {
		t.Errorf("got %s, want %s", got, want)
	}
	if got, want := publicationSQL(`p`, []string{"a.b", `c.d.e`}), `CREATE PUBLICATION "p" FOR TABLE "a"."b", "c"."d.e" WITH (publish = 'insert', publish_via_partition_root = true)`; got != want {
		t.Errorf("got %s", got)
	}
}

func TestParseHistory(t *testing.T) {
	t.Parallel()
	got, err := parseHistory("# note\n1\t0/16B3748\tno recovery target\n\n2\t1/0\tbefore 2026\n")
	if err != nil || len(got) != 2 || got[0] != (event.Switch{Timeline: 1, At: 0x16B3748}) || got[1] != (event.Switch{Timeline: 2, At: 1 << 32}) {
		t.Errorf("got %v, %v", got, err)
	}
	for _, bad := range []string{"1", "x\t0/1\tr", "1\tzz\tr", "2\t0/2\tr\n1\t0/3\tr", "1\t0/9\tr\n2\t0/3\tr"} {
		if got, err := parseHistory(bad); err == nil {
			t.Errorf("%q: got %v, want an error", bad, got)
		}
	}
}

func TestStatusBytes(t *testing.T) {
	t.Parallel()
	got := appendStatus(nil, 3, 2, time.UnixMicro(epochMicros+5), true)
	want := "64" + "00000026" + "72" + "0000000000000003" + "0000000000000002" + "0000000000000002" + "0000000000000005" + "01"
	if hex.EncodeToString(got) != want || len(got) != statusFrame {
		t.Errorf("got %x, want %s", got, want)
	}
}
