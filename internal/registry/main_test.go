package registry_test

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"testing"

	"go.uber.org/goleak"

	"github.com/cdc-relay/cdc-relay/internal/registry"
	"github.com/cdc-relay/cdc-relay/test/stack"
)

func TestMain(m *testing.M) { stack.Main(m) }

// Not parallel, so that it runs while no other test does.
func TestNoGoroutineIsLeft(t *testing.T) {
	before := goleak.IgnoreCurrent()
	t.Cleanup(func() { goleak.VerifyNone(t, before) }) // runs last, after the servers ended
	_, url := serve(t, found)
	c := registry.New(registry.Options{URL: url})
	if _, err := c.Resolve(t.Context(), []registry.Want{want("a"), want("b"), want("c")}, false); err != nil {
		t.Fatal(err)
	}
	c.Close()
	_, url = serve(t, "401 {}")
	c = registry.New(registry.Options{URL: url})
	_, err := c.Resolve(t.Context(), []registry.Want{want("a"), want("b"), want("c")}, true)
	if _, ok := errors.AsType[*registry.Error](err); !ok {
		t.Fatalf("got %v", err)
	}
	c.Close()
}

func marshalKey(t *testing.T, pair tls.Certificate) []byte {
	t.Helper()
	der, err := x509.MarshalPKCS8PrivateKey(pair.PrivateKey)
	if err != nil {
		t.Fatal(err)
	}
	return der
}
