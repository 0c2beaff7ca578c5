"""Reads a topic with aiokafka, isolation_level="read_committed".

usage: aio.py BOOTSTRAP REGISTRY TOPIC COUNT ISOLATION

Prints one JSON object per record: key, headers in their order, value. Avro is
decoded with fastavro and the schema of the id that the value begins with.
"""

import asyncio
import io
import json
import struct
import sys
import urllib.request

import fastavro
from aiokafka import AIOKafkaConsumer

bootstrap, registry, topic, count, isolation = sys.argv[1:6]
schemas = {}


def schema(number):
    if number not in schemas:
        with urllib.request.urlopen(f"{registry}/schemas/ids/{number}", timeout=30) as answer:
            schemas[number] = fastavro.parse_schema(json.loads(json.load(answer)["schema"]))
    return schemas[number]


def decode(value):
    magic, number = struct.unpack(">bI", value[:5])
    if magic != 0:
        return value.decode()
    return fastavro.schemaless_reader(io.BytesIO(value[5:]), schema(number), None)


async def main():
    consumer = AIOKafkaConsumer(
        topic, bootstrap_servers=bootstrap, auto_offset_reset="earliest", isolation_level=isolation, enable_auto_commit=False
    )
    await consumer.start()
    try:
        for _ in range(int(count)):
            record = await asyncio.wait_for(consumer.getone(), 30)
            print(
                json.dumps(
                    {
                        "key": record.key.decode(),
                        "headers": [[name, value.decode()] for name, value in record.headers],
                        "timestamp": record.timestamp,
                        "value": decode(record.value),
                    },
                    default=lambda v: v.isoformat() if hasattr(v, "isoformat") else str(v),
                )
            )
    finally:
        await consumer.stop()


asyncio.run(main())
