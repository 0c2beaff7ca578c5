package stack

import (
	"context"
	"testing"
)

// Classes are the classes of Apache Kafka, the ones of the broker that the stack
// runs without containers, and a Java that runs them.
type Classes struct {
	Java string // path of the program
	Path string // -cp
}

// KafkaClasses returns Kafka's own classes, downloaded once. It needs Java and
// Maven, whatever the broker is.
func (s *Stack) KafkaClasses(ctx context.Context) (Classes, error) {
	j, err := findJava(ctx)
	if err != nil {
		return Classes{}, err
	}
	dir, err := s.cache.kafkaJars(ctx)
	if err != nil {
		return Classes{}, err
	}
	path, err := jars(dir)
	return Classes{j.path, path}, err
}

// KafkaClasses returns Kafka's own classes, and skips the test where the machine
// has no Java to run them.
func KafkaClasses(t testing.TB) Classes {
	t.Helper()
	if _, err := findJava(t.Context()); err != nil {
		t.Skipf("Kafka's own classes need Java: %v", err)
	}
	return get(t, func(ctx context.Context, s *Stack) (Classes, error) { return s.KafkaClasses(ctx) })
}
