"""What the polling workers of the eleven services produced, row by row.

Each service had a copy of this beside a loop: take the oldest rows whose
published_at is null, produce each, set published_at; on an error raise
retry_count and come back. The end-to-end test runs it as the reference: the
relay's values and keys must be these, byte for byte.

As a program it reads one JSON object per line, {"service": …, "row": {column:
text or null}}, and prints one per line: topic, key and value (base64; key null:
a record without one).
"""

import base64
import json
import sys

JSONB = {"cj_assessment", "entitlements"}
LEGACY = {"email", "identity"}


def record(service, row):
    """Topic, key and value of the record for a row (columns as text)."""
    if service in LEGACY:
        envelope = json.loads(row["envelope"])
        return f"huleedu.{service}.{row['kind']}.v1", row["ref"], envelope["data"]
    envelope = json.loads(row["event_data"])
    envelope.pop("headers", None)  # kept for better times: the bus could not send them
    topic = row["topic"] if service in JSONB else envelope.pop("topic")
    return topic, row["event_key"], envelope


def main():
    for line in sys.stdin:
        ask = json.loads(line)
        topic, key, value = record(ask["service"], ask["row"])
        print(json.dumps({
            "topic": topic,
            "key": base64.b64encode(key.encode("utf-8")).decode() if key else None,
            "value": base64.b64encode(json.dumps(value).encode("utf-8")).decode(),
        }), flush=True)


if __name__ == "__main__":
    main()
