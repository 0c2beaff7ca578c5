// Package keys proves that an event lands on the partition on which a Java
// producer would put it: it lets Kafka's own Java classes, the relay's producer
// on a real broker, and the relay's own hash choose a partition for the same
// keys, and counts those on which all three agree.
package keys
