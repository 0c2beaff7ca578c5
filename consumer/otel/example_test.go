package otel_test

import (
	"context"
	"fmt"

	"go.opentelemetry.io/otel/trace"
	"go.opentelemetry.io/otel/trace/noop"

	"github.com/cdc-relay/cdc-relay/consumer"
	"github.com/cdc-relay/cdc-relay/consumer/otel"
)

var tracer = noop.NewTracerProvider().Tracer("result_aggregator")

// process handles a message in a span that continues the producer's trace.
func process(ctx context.Context, m consumer.Message, work func(context.Context)) {
	ctx = otel.Extract(ctx, m.Headers) // github.com/cdc-relay/cdc-relay/consumer/otel
	ctx, span := tracer.Start(ctx, "process "+m.Topic, trace.WithSpanKind(trace.SpanKindConsumer))
	defer span.End()
	work(ctx)
}

func ExampleExtract() {
	m := consumer.Message{Topic: "essay.v1", Headers: headers("traceparent", "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01")}
	process(context.Background(), m, func(ctx context.Context) {
		fmt.Println(trace.SpanContextFromContext(ctx).TraceID())
	})
	// Output: 4bf92f3577b34da6a3ce929d0e0e4736
}

// A span for many events is linked to where they come from.
func ExampleLink() {
	batch := []consumer.Headers{headers("event_id", "e1", "traceparent", "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"), headers("event_id", "e2")}
	var links []trace.Link
	for _, h := range batch {
		if link, ok := otel.Link(h); ok {
			links = append(links, link)
		}
	}
	_, span := tracer.Start(context.Background(), "process a batch", trace.WithLinks(links...))
	defer span.End()
	fmt.Println(len(links))
	// Output: 1
}
