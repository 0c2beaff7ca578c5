"""Reads topics with confluent-kafka and puts what was claimed back in, by the
code of docs/claim-check.md (claims.py, on PYTHONPATH).

usage: claim.py BOOTSTRAP REGISTRY COUNT TOPIC...

Prints one JSON object per record: id and text.
"""

import json
import sys

from claims import value_of
from confluent_kafka import Consumer
from confluent_kafka.schema_registry import SchemaRegistryClient
from confluent_kafka.schema_registry.avro import AvroDeserializer

bootstrap, registry, count, *topics = sys.argv[1:]
deserialize = AvroDeserializer(SchemaRegistryClient({"url": registry}))
consumer = Consumer(
    {
        "bootstrap.servers": bootstrap,
        "group.id": topics[0] + ".claim",
        "auto.offset.reset": "earliest",
        "isolation.level": "read_committed",
    }
)
consumer.subscribe(topics)
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
    value = value_of(message, deserialize)
    headers = dict(message.headers())
    print(json.dumps({"id": headers["event_id"].decode(), "text": value["data"]["corrected_text"]}))
consumer.close()
