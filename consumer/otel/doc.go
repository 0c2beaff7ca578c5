// Package otel continues, in a consumer, the OpenTelemetry trace of the service
// that wrote the event. It is apart from package consumer, so that services
// without OpenTelemetry do not link it.
//
//	ctx = otel.Extract(ctx, m.Headers)
//	ctx, span := tracer.Start(ctx, "process "+m.Topic, trace.WithSpanKind(trace.SpanKindConsumer))
//	defer span.End()
package otel
