package keys_test

import (
	"context"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"

	"github.com/cdc-relay/cdc-relay/test/contracts/keys"
	"github.com/cdc-relay/cdc-relay/test/stack"
)

func TestMain(m *testing.M) { stack.Main(m) }

// A consumer that joins topics of the relay with those of a Java producer finds
// the same key on the same partition: 10 000 keys, five sizes of topics.
func TestPartitionsAreThoseOfTheJavaClient(t *testing.T) {
	t.Parallel()
	if testing.Short() {
		t.Skip("starts Java")
	}
	classes := stack.KafkaClasses(t)
	ctx, cancel := context.WithTimeout(t.Context(), 3*time.Minute)
	defer cancel()
	prefix := "t" + strings.ReplaceAll(uuid.NewString(), "-", "")[:10]
	env := keys.Env{Java: classes.Java, ClassPath: classes.Path, Bootstrap: stack.Broker(t).Bootstrap(), Dir: t.TempDir(), Prefix: prefix}
	const n = 10_000
	r, err := keys.Compare(ctx, env, keys.Random(n, 1))
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("%d of %d keys on the partition of the Java client", r.Equal, r.Keys)
	if r.Keys != n || r.Equal != n {
		t.Errorf("%d keys differ:\n%s", r.Keys-r.Equal, strings.Join(r.Different, "\n"))
	}
}

// The keys are of all kinds, and the same in every run.
func TestRandomKeys(t *testing.T) {
	t.Parallel()
	all, again := keys.Random(10_000, 1), keys.Random(10_000, 1)
	lengths := map[int]bool{}
	long := 0
	for i, k := range all {
		lengths[len(k)] = true
		if len(k) > 1000 {
			long++
		}
		if string(k) != string(again[i]) {
			t.Fatalf("key %d is another in the second run", i)
		}
	}
	for n := range 301 {
		if !lengths[n] {
			t.Errorf("no key has %d bytes", n)
		}
	}
	if len(all) != 10_000 || long < 5 {
		t.Errorf("%d keys, %d of them long", len(all), long)
	}
}
