// Package otel carries the trace of an OpenTelemetry context into the events of
// package outbox, so that a consumer's span continues the one that published:
//
//	outbox.Publish(ctx, tx, otel.Trace(ctx, event))
//
// It is apart from package outbox, so that a service without OpenTelemetry does
// not link it.
package otel
