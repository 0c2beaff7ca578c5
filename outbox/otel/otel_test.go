package otel_test

import (
	"context"
	"fmt"
	"maps"
	"testing"

	"go.opentelemetry.io/otel/trace"

	"github.com/cdc-relay/cdc-relay/outbox"
	"github.com/cdc-relay/cdc-relay/outbox/otel"
)

const (
	traceID = "4bf92f3577b34da6a3ce929d0e0e4736"
	spanID  = "00f067aa0ba902b7"
)

// traced returns a context with a remote span, as a server's instrumentation
// makes one of a request.
func traced(flags trace.TraceFlags) context.Context {
	return trace.ContextWithRemoteSpanContext(context.Background(), trace.NewSpanContext(trace.SpanContextConfig{
		TraceID:    trace.TraceID{0x4b, 0xf9, 0x2f, 0x35, 0x77, 0xb3, 0x4d, 0xa6, 0xa3, 0xce, 0x92, 0x9d, 0x0e, 0x0e, 0x47, 0x36},
		SpanID:     trace.SpanID{0x00, 0xf0, 0x67, 0xaa, 0x0b, 0xa9, 0x02, 0xb7},
		TraceFlags: flags,
	}))
}

func TestTrace(t *testing.T) {
	t.Parallel()
	ctx := traced(trace.FlagsSampled)
	state, err := trace.ParseTraceState("a=b")
	if err != nil {
		t.Fatal(err)
	}
	vendor := trace.ContextWithSpanContext(ctx, trace.SpanContextFromContext(ctx).WithTraceState(state))
	for name, c := range map[string]struct {
		ctx         context.Context
		given, want map[string]string
	}{
		"plain":           {ctx, nil, map[string]string{"traceparent": "00-" + traceID + "-" + spanID + "-01", "trace_id": traceID}},
		"not sampled":     {traced(0), nil, map[string]string{"traceparent": "00-" + traceID + "-" + spanID + "-00", "trace_id": traceID}},
		"state":           {vendor, nil, map[string]string{"traceparent": "00-" + traceID + "-" + spanID + "-01", "tracestate": "a=b", "trace_id": traceID}},
		"others stay":     {ctx, map[string]string{"tenant": "x"}, map[string]string{"tenant": "x", "traceparent": "00-" + traceID + "-" + spanID + "-01", "trace_id": traceID}},
		"own traceparent": {ctx, map[string]string{"traceparent": "mine"}, map[string]string{"traceparent": "mine"}},
		"own trace_id":    {ctx, map[string]string{"trace_id": "mine"}, map[string]string{"trace_id": "mine"}},
		"no span":         {context.Background(), map[string]string{"tenant": "x"}, map[string]string{"tenant": "x"}},
	} {
		before := maps.Clone(c.given)
		got := otel.Trace(c.ctx, outbox.Event{Headers: c.given}).Headers
		if !maps.Equal(got, c.want) || !maps.Equal(c.given, before) {
			t.Errorf("%s: headers %v, want %v; the given ones became %v", name, got, c.want, c.given)
		}
	}
	d := otel.TraceDual(ctx, outbox.Dual{})
	if d.Thin.Headers["trace_id"] != traceID || d.Rich.Headers["trace_id"] != traceID {
		t.Errorf("dual: %v, %v", d.Thin.Headers, d.Rich.Headers)
	}
}

func ExampleTrace() {
	ctx := traced(trace.FlagsSampled) // what the instrumentation of a server gives
	event := otel.Trace(ctx, outbox.Event{AggregateType: "essay", AggregateID: "essay-1", Type: "essay.done", Payload: `{}`})
	fmt.Println(event.Headers["traceparent"])
	// Output: 00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01
}
