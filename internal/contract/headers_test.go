package contract

import (
	"fmt"
	"strings"
	"testing"
)

// headersFile is a contract whose headers are given at every level.
func headersFile() File {
	on, off := true, false
	return File{
		Name: "events.yaml",
		Defaults: Defaults{
			Encoding: "json", Topic: "t",
			Headers: Headers{Enabled: &off, Add: map[string][]string{"tenant": {"payload.tenant_id"}, "region": {"const:north"}}},
		},
		Events: []Event{
			{Type: "as the defaults"},
			{Type: "on", Headers: Headers{Enabled: &on, Add: map[string][]string{"tenant": {"header.t", "const:none"}, "b": {"event_type"}, "region": {}}}, Also: []Also{
				{Topic: "inherits"},
				{Topic: "off", Headers: Headers{Enabled: &off}},
				{Topic: "own", Headers: Headers{Preset: "debezium", Add: map[string][]string{"region": {"const:south"}, "b": {}}}},
			}},
		},
	}
}

// added is what a form adds, and whether it has headers at all.
func added(f Form) string {
	out := []string{fmt.Sprint(!f.HeadersOff)}
	for _, a := range f.Add {
		for i, s := range a.Sources {
			out = append(out, map[bool]string{true: a.Name + "=", false: "|"}[i == 0]+s.String())
		}
	}
	return strings.Join(out, " ")
}

// Headers are switched and added on the defaults, on an event and on a second
// form of it; each level lies over the one before, name by name.
func TestHeadersAtEveryLevel(t *testing.T) {
	t.Parallel()
	c, err := New(headersFile())
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, r := range c.Rules() {
		for _, f := range r.Forms {
			got = append(got, added(f))
		}
	}
	want := []string{
		"false region=const:north tenant=payload.tenant_id",
		"true b=event_type tenant=header.t |const:none",
		"true b=event_type tenant=header.t |const:none",
		"false b=event_type tenant=header.t |const:none",
		"true region=const:south tenant=header.t |const:none",
	}
	if fmt.Sprint(got) != fmt.Sprint(want) {
		t.Errorf("got\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
	if def := added(c.Default().Forms[0]); def != want[0] {
		t.Errorf("unknown events: %s", def)
	}
}

func TestHeadersRefuse(t *testing.T) {
	t.Parallel()
	add := func(name string, sources ...string) func(*File) {
		return func(f *File) { f.Events[0].Headers.Add = map[string][]string{name: sources} }
	}
	for name, tc := range map[string]struct {
		change func(*File)
		want   string
	}{
		"no source":        {add("x", "paylod.a"), `events[0].headers.add.x: source 1: "paylod.a" is no source`},
		"nothing to drop":  {add("x"), `events[0].headers.add.x: has no source, and the defaults add no such header`},
		"empty default":    {func(f *File) { f.Defaults.Headers.Add["x"] = nil }, `defaults.headers.add.x: has no source`},
		"name":             {add(" x", "const:a"), `" x" is no name of a header`},
		"control":          {add("a\x00b", "const:a"), `it holds a control character`},
		"claim":            {add("claim_check", "const:a"), `"claim_check" says which parts of an event are in object storage`},
		"ours":             {add("cdc_replay_id", "const:a"), `"cdc_replay_id" is a name of the relay's own`},
		"after a constant": {add("x", "const:a", "payload.b"), `"const:a" always gives a value`},
		"twice":            {add("x", "payload.b", "{payload.b}"), `is in the list already`},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			f := headersFile()
			tc.change(&f)
			if _, err := New(f); err == nil || !strings.Contains(err.Error(), tc.want) {
				t.Errorf("got:  %v\nwant: %s", err, tc.want)
			}
		})
	}
	a, b := headersFile(), headersFile()
	b.Name, b.Events = "b.yaml", nil
	b.Defaults.Headers.Add = map[string][]string{"region": {"const:south"}}
	if _, err := New(a, b); err == nil || !strings.Contains(err.Error(), `b.yaml: defaults.headers.add.region: "const:south" contradicts "const:north" in events.yaml`) {
		t.Errorf("two files: %v", err)
	}
}
