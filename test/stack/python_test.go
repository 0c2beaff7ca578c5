package stack

import (
	"os/exec"
	"testing"
)

func TestPythonHasTheConsumers(t *testing.T) {
	t.Parallel()
	const script = `
from confluent_kafka import Consumer
from confluent_kafka.schema_registry import SchemaRegistryClient
from confluent_kafka.schema_registry.avro import AvroDeserializer
from aiokafka import AIOKafkaConsumer, codec
assert codec.has_lz4() and codec.has_snappy() and codec.has_zstd()
print("ok")`
	out, err := exec.CommandContext(t.Context(), Python(t), "-c", script).CombinedOutput()
	if err != nil || string(out) != "ok\n" {
		t.Fatalf("%v: %s", err, out)
	}
}
