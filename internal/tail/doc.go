// Package tail shows events to people: it chooses records by what they say of
// themselves, decodes their values with the schema they were written with, and
// prints both as text or as JSON.
//
// It is fed: fleet reads Kafka and asks the registry, so that everything here
// can be tested alone. A value that cannot be decoded is shown with the reason;
// nothing a record holds is an error of this package, and nothing of it reaches
// a terminal as a control character.
package tail
