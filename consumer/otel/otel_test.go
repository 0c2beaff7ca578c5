package otel_test

import (
	"slices"
	"testing"

	"github.com/twmb/franz-go/pkg/kgo"
	"go.opentelemetry.io/otel/baggage"
	"go.opentelemetry.io/otel/propagation"
	"go.opentelemetry.io/otel/trace"

	"github.com/cdc-relay/cdc-relay/consumer"
	"github.com/cdc-relay/cdc-relay/consumer/otel"
)

const (
	traceID = "4bf92f3577b34da6a3ce929d0e0e4736"
	spanID  = "00f067aa0ba902b7"
)

func headers(pairs ...string) consumer.Headers {
	var hs []kgo.RecordHeader
	for at := 0; at < len(pairs); at += 2 {
		hs = append(hs, kgo.RecordHeader{Key: pairs[at], Value: []byte(pairs[at+1])})
	}
	return consumer.NewHeaders(hs)
}

func TestExtract(t *testing.T) {
	t.Parallel()
	h := headers("event_id", "e1", "traceparent", "00-"+traceID+"-"+spanID+"-01", "tracestate", "vendor=x", "baggage", "tenant=7")
	ctx := otel.Extract(t.Context(), h)
	sc := trace.SpanContextFromContext(ctx)
	if sc.TraceID().String() != traceID || sc.SpanID().String() != spanID || !sc.IsSampled() || !sc.IsRemote() || sc.TraceState().Get("vendor") != "x" {
		t.Errorf("extracted %+v", sc)
	}
	if got := baggage.FromContext(ctx).Member("tenant").Value(); got != "7" {
		t.Errorf("baggage %q, want 7", got)
	}
	link, ok := otel.Link(h)
	if !ok || !link.SpanContext.Equal(sc) || link.Attributes[0].Value.AsString() != "e1" {
		t.Errorf("link %+v %t", link, ok)
	}
	// A propagator of the service's own reads the same headers.
	if got := trace.SpanContextFromContext(propagation.TraceContext{}.Extract(t.Context(), otel.Carrier(h))); !got.Equal(sc) {
		t.Errorf("by another propagator: %+v", got)
	}
	if got := otel.Carrier(h).Keys(); !slices.Equal(got, []string{"event_id", "traceparent", "tracestate", "baggage"}) {
		t.Errorf("keys %q", got)
	}
}

// What is no trace context leaves the consumer's own as it was.
func TestExtractNothing(t *testing.T) {
	t.Parallel()
	own := trace.ContextWithSpanContext(t.Context(), trace.NewSpanContext(trace.SpanContextConfig{TraceID: trace.TraceID{1}, SpanID: trace.SpanID{2}}))
	for _, h := range []consumer.Headers{{}, headers("trace_id", traceID), headers("traceparent", "00-"+traceID+"-0000000000000000-01"), headers("traceparent", "x")} {
		if got := trace.SpanContextFromContext(otel.Extract(own, h)); got.TraceID() != (trace.TraceID{1}) {
			t.Errorf("headers %q: %+v", h.Names(), got)
		}
		if link, ok := otel.Link(h); ok {
			t.Errorf("headers %q: link %+v", h.Names(), link)
		}
	}
}
