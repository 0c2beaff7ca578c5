package stack

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// advertised returns the addresses a client of bootstrap is sent to.
func advertised(t *testing.T, bootstrap string) (all []string) {
	t.Helper()
	cl, err := newClient(bootstrap)
	if err != nil {
		t.Fatal(err)
	}
	defer cl.Close()
	resp, err := kmsg.NewPtrMetadataRequest().RequestWith(t.Context(), cl)
	if err != nil {
		t.Fatal(err)
	}
	for _, b := range resp.Brokers {
		all = append(all, fmt.Sprintf("%s:%d", b.Host, b.Port))
	}
	slices.Sort(all)
	return all
}

func sorted(bootstrap string) []string {
	all := strings.Split(bootstrap, ",")
	slices.Sort(all)
	return all
}

func TestProxiedClientsStayOnProxies(t *testing.T) {
	t.Parallel()
	k := NewBroker(t, Proxied(), Brokers(3))
	for _, bootstrap := range []string{k.Bootstrap(), k.ProxiedBootstrap()} {
		if got, want := advertised(t, bootstrap), sorted(bootstrap); !slices.Equal(got, want) {
			t.Errorf("a client of %s is sent to %v", bootstrap, got)
		}
	}
	if n := len(k.Proxies()); n != 3 {
		t.Fatalf("%d proxies", n)
	}
	topic := k.Topic(t, 3, nil)
	produce(t, k.ProxiedBootstrap(), topic, "through")
	if err := k.Kill(2); err != nil {
		t.Fatal(err)
	}
	produce(t, k.ProxiedBootstrap(), topic, "without one")
	if err := k.Start(2); err != nil {
		t.Fatal(err)
	}
	if got, want := advertised(t, k.Proxies()[1].Addr()), sorted(k.ProxiedBootstrap()); !slices.Equal(got, want) {
		t.Errorf("after a restart: %v, want %v", got, want)
	}
	consume(t, k.ProxiedBootstrap(), topic, 2)
}

func TestFrozenBrokerIsMuteUntilThaw(t *testing.T) {
	t.Parallel()
	k := NewBroker(t, Proxied())
	topic := k.Topic(t, 1, nil)
	cl, err := kgo.NewClient(kgo.SeedBrokers(k.ProxiedBootstrap()), kgo.DefaultProduceTopic(topic))
	if err != nil {
		t.Fatal(err)
	}
	defer cl.Close()
	if err := cl.ProduceSync(t.Context(), kgo.StringRecord("before")).FirstErr(); err != nil {
		t.Fatal(err)
	}
	proxy := k.Proxies()[0]
	proxy.Freeze()
	ctx, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond)
	defer cancel()
	if err := cl.Ping(ctx); !errors.Is(err, context.DeadlineExceeded) {
		t.Fatalf("a frozen broker answers: %v", err)
	}
	produce(t, k.Bootstrap(), topic, "beside") // the way of the tests is open
	proxy.Thaw()
	if err := cl.ProduceSync(t.Context(), kgo.StringRecord("after")).FirstErr(); err != nil {
		t.Fatal(err)
	}
	if got := consume(t, k.ProxiedBootstrap(), topic, 3); got[2] != "after" {
		t.Fatal(got)
	}
}

// Only apache can advertise a second address; another wish is an error, never
// a broker without proxies.
func TestProxiedIsNeverAnotherKind(t *testing.T) {
	t.Setenv(brokerVariable, "embedded")
	s, _ := ownStack(t)
	if _, _, err := s.NewBroker(t.Context(), Proxied()); !errors.Is(err, ErrProxied) {
		t.Fatal(err)
	}
}
