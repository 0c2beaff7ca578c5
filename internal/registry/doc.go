// Package registry knows schemas twice: as files (LoadSchemas reads *.avsc and
// inlines the named types of sibling files) and as ids in a
// Confluent-compatible Schema Registry (Client.Resolve looks them up at start,
// or registers them where the environment allows it).
//
// It is no hot stage: what a pipeline needs of it runs before the first row is
// read, and the ids it returns are compiled into the transformer. Who reads
// records asks for the schema of an id (Client.ByID).
//
// The protocol is the Confluent Schema Registry API as srclient speaks it.
// srclient knows neither context nor retries and keeps neither the status nor
// the reasons of a refusal, so every call goes through a transport of ours
// that adds the four.
package registry
