package otel

import (
	"context"
	"maps"

	"go.opentelemetry.io/otel/propagation"
	"go.opentelemetry.io/otel/trace"

	"github.com/cdc-relay/cdc-relay/outbox"
)

// Trace returns e with the headers traceparent, tracestate (if there is one; W3C
// Trace Context) and trace_id (32 hexadecimal digits) of the span in ctx. If e
// has a traceparent or a trace_id already, or ctx has no span, e is returned as
// it is: a trace is taken whole or not at all.
//
// The map of e.Headers is not changed but copied.
func Trace(ctx context.Context, e outbox.Event) outbox.Event {
	span := trace.SpanContextFromContext(ctx)
	if !span.IsValid() || e.Headers["traceparent"] != "" || e.Headers["trace_id"] != "" {
		return e
	}
	headers := maps.Clone(e.Headers)
	if headers == nil {
		headers = map[string]string{}
	}
	propagation.TraceContext{}.Inject(ctx, propagation.MapCarrier(headers))
	headers["trace_id"] = span.TraceID().String()
	e.Headers = headers
	return e
}

// TraceDual is Trace for both events of a pair.
func TraceDual(ctx context.Context, d outbox.Dual) outbox.Dual {
	d.Thin, d.Rich = Trace(ctx, d.Thin), Trace(ctx, d.Rich)
	return d
}
