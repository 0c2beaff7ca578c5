package otel

import (
	"context"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/propagation"
	"go.opentelemetry.io/otel/trace"

	"github.com/cdc-relay/cdc-relay/consumer"
)

// w3c is what the relay writes and passes on: traceparent, which it makes of
// trace_id where a service writes no traceparent, and tracestate and baggage
// as the service wrote them.
var w3c = propagation.NewCompositeTextMapPropagator(propagation.TraceContext{}, propagation.Baggage{})

// Carrier lets any propagator read the headers of a record:
// otel.GetTextMapPropagator().Extract(ctx, Carrier(m.Headers)). Set does
// nothing: the record is written.
type Carrier consumer.Headers

var _ propagation.TextMapCarrier = Carrier{}

// Get returns the value of a header, "" if there is none.
func (c Carrier) Get(key string) string {
	v, _ := consumer.Headers(c).Get(key)
	return v
}

// Set does nothing.
func (Carrier) Set(string, string) {}

// Keys lists the names of the headers.
func (c Carrier) Keys() []string { return consumer.Headers(c).Names() }

// Extract returns ctx with the trace context and baggage of the event: a span
// started from it is a child of the span that wrote the event. Without a valid
// traceparent ctx comes back as it is.
func Extract(ctx context.Context, h consumer.Headers) context.Context {
	return w3c.Extract(ctx, Carrier(h))
}

// Link links a span to the one that wrote the event, for consumers whose span
// covers many events: trace.WithLinks(links...). ok: the event has a valid
// traceparent. The link's attributes name the event.
func Link(h consumer.Headers) (link trace.Link, ok bool) {
	sc := trace.SpanContextFromContext(w3c.Extract(context.Background(), Carrier(h)))
	link = trace.Link{SpanContext: sc, Attributes: []attribute.KeyValue{attribute.String("messaging.message.id", h.EventID())}}
	return link, sc.IsValid()
}
