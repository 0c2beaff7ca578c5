"""Reads a topic with confluent-kafka and its Avro deserializer.

usage: confluent.py BOOTSTRAP REGISTRY TOPIC COUNT

Prints one JSON object per record: key, headers in their order, value.
"""

import json
import sys
import uuid

from confluent_kafka import Consumer
from confluent_kafka.schema_registry import SchemaRegistryClient
from confluent_kafka.schema_registry.avro import AvroDeserializer
from confluent_kafka.serialization import MessageField, SerializationContext

bootstrap, registry, topic, count = sys.argv[1:5]
deserialize = AvroDeserializer(SchemaRegistryClient({"url": registry}))
consumer = Consumer(
    {
        "bootstrap.servers": bootstrap,
        "group.id": f"{topic}.{uuid.uuid4()}",  # from the beginning, however often
        "auto.offset.reset": "earliest",
        "isolation.level": "read_committed",
    }
)
consumer.subscribe([topic])
left, silent = int(count), 0
while left > 0:
    message = consumer.poll(1.0)
    if message is None:
        silent += 1
        if silent > 30:
            sys.exit(f"{left} of {count} records did not come")
        continue
    if message.error():
        sys.exit(str(message.error()))
    silent, left = 0, left - 1
    value = deserialize(message.value(), SerializationContext(topic, MessageField.VALUE, message.headers()))
    print(
        json.dumps(
            {
                "key": message.key().decode(),
                "headers": [[name, value.decode()] for name, value in message.headers()],
                "timestamp": message.timestamp()[1],
                "value": value,
            },
            default=lambda v: v.isoformat() if hasattr(v, "isoformat") else str(v),
        )
    )
consumer.close()
