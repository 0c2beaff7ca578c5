package schema

import (
	"strings"
	"testing"

	"github.com/google/uuid"

	"github.com/cdc-relay/cdc-relay/internal/registry"
	"github.com/cdc-relay/cdc-relay/test/rig"
	"github.com/cdc-relay/cdc-relay/test/stack"
)

func TestMain(m *testing.M) { stack.Main(m) }

// The registry's verdict counts, so ours must be the same, in each direction.
func TestCompareAgreesWithTheRegistry(t *testing.T) {
	t.Parallel()
	url := stack.Registry(t).URL()
	client := registry.New(registry.Options{URL: url})
	t.Cleanup(client.Close)
	prefix := "compare-" + uuid.NewString()[:8]
	for name, c := range comparisons() {
		subject := prefix + "-" + strings.ReplaceAll(name, " ", "-")
		first := registry.Want{Subject: subject, Name: "O", Version: 1, Schema: c.was}
		if _, err := client.Resolve(t.Context(), []registry.Want{first}, true); err != nil {
			t.Fatal(err)
		}
		for level, want := range map[Level]string{Backward: c.backward, Forward: c.forward, Full: c.backward + c.forward} {
			if err := rig.Put(t.Context(), url+"/config/"+subject, `{"compatibility":"`+string(level)+`"}`); err != nil {
				t.Fatal(err)
			}
			takes, why, err := client.Compatible(t.Context(), registry.Want{Subject: subject, Name: "O", Version: 2, Schema: c.now}, 1)
			// Registries do not look at decimals, although the same bytes become
			// another number: there we warn of what they let pass.
			if name == "scale" {
				want = ""
			}
			if err != nil || takes != (want == "") {
				t.Errorf("%s, %s: the registry says %t (%s), %v; we say %q", name, level, takes, why, err, want)
			}
		}
	}
}
