// Package kafka holds what every user of Kafka in this program shares: the
// client settings (any librdkafka property, those exactly-once depends on kept
// in our hands), the admin calls, the checks of topics, the backward read of
// the last checkpoint, scans and following of topics, and the one function that
// turns an error of the client library into the fate of a pipeline (Classify).
//
// Only this package and internal/sink import the client library.
//
// Every call that reaches a broker takes a context and has a deadline of its
// own besides. Constructors of values (NewSettings) do not connect; Open does.
package kafka
