package registry_test

import (
	"strings"
	"testing"

	"github.com/cdc-relay/cdc-relay/internal/registry"
	"github.com/cdc-relay/cdc-relay/test/stack"
)

// The level that holds is known for a subject without one of its own, with one,
// and where there is no subject; and the registry acts by it.
func TestRealRegistryLevels(t *testing.T) {
	t.Parallel()
	url := stack.Registry(t).URL()
	c := client(t, registry.Options{URL: url})
	subject := topic(t) + "-value"
	is := func(want string) {
		t.Helper()
		if got, err := c.Level(t.Context(), subject); err != nil || got != want {
			t.Errorf("level %q, %v; want %s", got, err, want)
		}
	}
	order := func(fields string) registry.Want {
		return registry.Want{Subject: subject, Name: "Order", Version: 1, Schema: `{"type":"record","name":"Order","namespace":"shop","fields":[{"type":"string","name":"id"}` + fields + `]}`}
	}
	first, second := order(""), order(`,{"type":"int","name":"amount"}`)
	is("BACKWARD") // the registry's
	if _, err := c.Resolve(t.Context(), []registry.Want{first}, true); err != nil {
		t.Fatal(err)
	}
	is("BACKWARD")
	fits := func(want bool, reason string) {
		t.Helper()
		ok, why, err := c.Compatible(t.Context(), second, 1)
		if err != nil || ok != want || !strings.Contains(why, reason) {
			t.Errorf("compatible %t, %q, %v; want %t, %q", ok, why, err, want, reason)
		}
	}
	fits(false, "amount")
	level(t, url, subject, "FORWARD")
	is("FORWARD")
	fits(true, "")
	// For Apicurio NONE means no rule of its own, so that the global one holds.
	level(t, url, subject, "NONE")
	if takes, _, err := c.Compatible(t.Context(), second, 1); err != nil {
		t.Error(err)
	} else if takes {
		is("NONE")
	} else {
		is("BACKWARD")
	}
	level(t, url, subject, "FULL_TRANSITIVE")
	is("FULL_TRANSITIVE")
	fits(false, "amount")
}

// Types are registered before what refers to them, found again, compared with
// what is there, and read back in one piece.
func TestRealRegistryReferences(t *testing.T) {
	t.Parallel()
	url := stack.Registry(t).URL()
	c := client(t, registry.Options{URL: url})
	space := strings.ReplaceAll(topic(t), "-", "")
	files := map[string]string{}
	for name, text := range shop {
		files[name] = strings.ReplaceAll(text, "shop", space)
	}
	wants := func() []registry.Want {
		s, err := registry.LoadSchemas(folder(files))
		if err != nil {
			t.Fatal(err)
		}
		return s.Wants(space+"-value", "Order", 1, true)
	}
	first, err := c.Resolve(t.Context(), wants(), true)
	if err != nil {
		t.Fatal(err)
	}
	if again, err := c.Resolve(t.Context(), wants(), false); err != nil || again[3] != first[3] {
		t.Errorf("%v after %v, %v", again, first, err)
	}
	versions, err := c.Versions(t.Context(), space+"-value")
	if err != nil || len(versions) != 1 || versions[0].Schema != wants()[3].Self() || versions[0].ID != first[3] {
		t.Errorf("%+v, %v\nwant %s", versions, err, wants()[3].Self())
	}
	files["Money.avsc"] = strings.Replace(files["Money.avsc"], `["SEK"]`, `["SEK","EUR"]`, 1)
	second, err := c.Resolve(t.Context(), wants(), true)
	if err != nil || second[3] == first[3] {
		t.Errorf("%v after %v, %v", second, first, err)
	}
	files["Money.avsc"] = strings.Replace(files["Money.avsc"], `["SEK","EUR"]`, `["EUR"]`, 1)
	states, err := c.States(t.Context(), wants(), true)
	if err != nil || states[0].Err == nil || states[0].Err.Reason != registry.Incompatible || states[3].Err == nil {
		t.Errorf("a symbol taken away: %+v, %v", states, err)
	}
}
