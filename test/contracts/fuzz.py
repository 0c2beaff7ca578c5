"""Decodes records by fastavro: each to its last byte, under its writer's schema.

Reads lines: "schema ID BASE64" and "EVENT ID BASE64". Logical types are left
out: their underlying values are what is on the wire, and Python's dates hold
fewer years than Avro's.
"""
import base64
import io
import json
import sys

import fastavro


def plain(node):
    if isinstance(node, dict):
        return {k: plain(v) for k, v in node.items() if k not in ("logicalType", "precision", "scale", "default")}
    if isinstance(node, list):
        return [plain(v) for v in node]
    return node


schemas, decoded, bad = {}, 0, []
for line in sys.stdin:
    event, number, text = line.split(" ")
    raw = base64.b64decode(text)
    if event == "schema":
        schemas[number] = fastavro.parse_schema(plain(json.loads(raw)), named_schemas={})
        continue
    body = io.BytesIO(raw)
    try:
        fastavro.schemaless_reader(body, schemas[number])
        if body.tell() != len(raw):
            raise ValueError(f"{len(raw) - body.tell()} bytes behind the record")
        decoded += 1
    except Exception as e:
        bad.append(f"event {event}, schema {number}: {type(e).__name__}: {e}")
json.dump({"Decoded": decoded, "Undecodable": bad}, sys.stdout)
