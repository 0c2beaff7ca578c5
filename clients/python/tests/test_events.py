"""What is an event, without a database."""

from __future__ import annotations

import json
from dataclasses import dataclass
from datetime import date, datetime, time, timezone
from decimal import Decimal
from enum import Enum
from typing import Any
from uuid import UUID, uuid4

import pydantic
import pydantic.v1
import pytest

from cdc_relay import EventError, OutboxEvent, create_standard_headers, resolve_partition_key
from cdc_relay.event import new_id, prepare

ID = UUID("0195d8d6-5b1c-7cc0-8000-000000000001")
AT = datetime(2026, 2, 3, 4, 5, 6, 7, timezone.utc)


class Status(Enum):
    SUCCEEDED = "SUCCEEDED"


class Kind(str, Enum):
    DONE = "essay.done"


class Score(pydantic.BaseModel):
    value: Decimal
    at: datetime


class Done(pydantic.BaseModel):
    essay_id: UUID
    status: Status
    scores: list[Score]


class OldDone(pydantic.v1.BaseModel):
    essay_id: UUID
    status: Status


@dataclass
class PlainDone:
    essay_id: UUID
    at: datetime
    inner: Any


def payload(data: Any) -> Any:
    return json.loads(prepare(OutboxEvent("essay", "1", "essay.done", data)).payload)


def test_values() -> None:
    model = Done(essay_id=ID, status=Status.SUCCEEDED, scores=[Score(value=Decimal("1.10"), at=AT)])
    assert payload(model) == {"essay_id": str(ID), "status": "SUCCEEDED", "scores": [{"value": "1.10", "at": "2026-02-03T04:05:06.000007Z"}]}
    assert payload({"model": model})["model"] == payload(model)
    assert payload(OldDone(essay_id=ID, status=Status.SUCCEEDED)) == {"essay_id": str(ID), "status": "SUCCEEDED"}
    assert payload(PlainDone(ID, AT, [model, (1, 2)])) == {"essay_id": str(ID), "at": "2026-02-03T04:05:06.000007+00:00", "inner": [payload(model), [1, 2]]}
    assert payload({"d": date(2026, 2, 3), "t": time(4, 5), "n": Decimal("1E+2"), "b": True, "z": None, "f": 0.1, Kind.DONE: 1, ID: 2, 3: 4}) == {
        "d": "2026-02-03", "t": "04:05:00", "n": "100", "b": True, "z": None, "f": 0.1, "essay.done": 1, str(ID): 2, "3": 4,
    }  # fmt: skip


def test_text_is_kept() -> None:
    text = '{"b": 1,  "a": "ö\\u0000", "b": 2.50}'
    for given in (text, text.encode(), bytearray(text.encode())):
        assert prepare(OutboxEvent("essay", "1", "essay.done", given)).payload == text


class Loop:
    pass


LOOP: dict[str, Any] = {}
LOOP["self"] = LOOP


@pytest.mark.parametrize(
    ("field", "changes", "message"),
    [
        ("aggregate_type", {"aggregate_type": ""}, "is empty"),
        ("aggregate_id", {"aggregate_id": None}, "is a NoneType; it must be text"),
        ("aggregate_id", {"aggregate_id": "a\0b"}, "zero character"),
        ("aggregate_id", {"aggregate_id": "\ud800"}, "half a surrogate"),
        ("event_type", {"event_type": ""}, "is empty"),
        ("event_type", {"event_type": 1.5}, "is a float"),
        ("topic", {"topic": "a b"}, "'a b' is not the name of a Kafka topic"),
        ("topic", {"topic": ""}, "is not the name"),
        ("topic", {"topic": ".."}, "is not the name"),
        ("topic", {"topic": "t\n"}, "is not the name"),
        ("topic", {"topic": "x" * 250}, "is not the name"),
        ("message_key", {"message_key": b"k"}, "is a bytes"),
        ("headers", {"headers": [("a", "b")]}, "is a list"),
        ("headers", {"headers": {"": "x"}}, "names are text and not empty"),
        ("headers", {"headers": {"n": 1.5}}, "'n': 1.5; values are text"),
        ("headers", {"headers": {"n": "\ud800"}}, "values are text"),
        ("headers", {"headers": {"event_id": str(ID)}, "event_id": new_id()}, "the event has"),
        ("event_id", {"event_id": "no"}, "'no' is not a UUID"),
        ("occurred_at", {"occurred_at": datetime(2026, 1, 1)}, "has no time zone"),
        ("occurred_at", {"occurred_at": "2026-01-01"}, "has no time zone"),
        ("event_data", {"event_data": None}, "is not a JSON object but NoneType"),
        ("event_data", {"event_data": [1]}, "is not a JSON object but list"),
        ("event_data", {"event_data": "[1]"}, "is not a JSON object: '[1]'"),
        ("event_data", {"event_data": '{"cut'}, "is not valid JSON"),
        ("event_data", {"event_data": '{"a": NaN}'}, "NaN is not JSON"),
        ("event_data", {"event_data": b'{"a":"\xff"}'}, "is not UTF-8"),
        ("event_data", {"event_data": Done}, "has no form in JSON"),
        ("event_data", {"event_data": {"a": [{"b": {1}}]}}, "at a[0].b: set has no form in JSON"),
        ("event_data", {"event_data": {"a": [1, float("nan")]}}, "at a[1]: nan is no number"),
        ("event_data", {"event_data": {"a": Decimal("Infinity")}}, "at a: Infinity is no number"),
        ("event_data", {"event_data": {"a": {None: 1}}}, "at a: a key is None"),
        ("event_data", {"event_data": {"a": "\ud800"}}, "half a surrogate"),
        ("event_data", {"event_data": {"a": b"x"}}, "at a: bytes has no form"),
        ("event_data", {"event_data": Loop()}, "Loop has no form"),
        ("event_data", {"event_data": LOOP}, "contains itself"),
    ],
)
def test_faults(field: str, changes: dict[str, Any], message: str) -> None:
    good: dict[str, Any] = {"aggregate_type": "essay", "aggregate_id": "1", "event_type": "essay.done", "event_data": {}}
    with pytest.raises(EventError) as caught:
        prepare(OutboxEvent(**good | changes))
    assert caught.value.field == field and message in str(caught.value)
    assert isinstance(caught.value, ValueError)


def test_ids() -> None:
    other = uuid4()

    def of(**given: Any) -> str:
        return prepare(OutboxEvent("essay", "1", "essay.done", given.pop("data", {}), **given)).id

    envelope = {"event_id": str(ID), "event_type": "essay.done"}
    assert of(event_id=ID) == of(event_id=str(ID).upper()) == str(ID)
    assert of(headers={"event_id": str(ID)}, data=envelope | {"event_id": str(other)}) == str(ID)
    assert of(data=envelope) == of(data=json.dumps(envelope)) == str(ID)  # header and envelope agree
    assert of(headers={"event_id": "no"}, data=envelope) == str(ID)
    for data in ({}, {"event_id": str(ID)}, envelope | {"event_type": "other"}, envelope | {"event_id": "no"}, envelope | {"event_id": 5}, {"x": envelope}):
        made_up = of(data=data)
        assert UUID(made_up).version == 7 and made_up != str(ID)
    made = [new_id() for _ in range(10_000)]
    assert len(set(made)) == len(made) and {(i.version, i.variant) for i in made} == {(7, "specified in RFC 4122")}
    assert made[0].int >> 80 <= made[-1].int >> 80


def test_enums_stand_for_their_values() -> None:
    row = prepare(OutboxEvent(Status.SUCCEEDED, ID, Kind.DONE, {}, message_key=7, headers={"kind": Kind.DONE, "n": 1, "id": ID, "none": None}))
    assert (row.aggregate_type, row.aggregate_id, row.event_type, row.message_key) == ("SUCCEEDED", str(ID), "essay.done", "7")
    assert json.loads(row.headers) == {"kind": "essay.done", "n": "1", "id": str(ID)}


def test_standard_headers() -> None:
    assert create_standard_headers(ID, "abc", 3) == {"event_id": str(ID), "schema_version": "3", "trace_id": "abc"}
    assert create_standard_headers("e") == {"event_id": "e", "schema_version": "1"}
    assert create_standard_headers("e", correlation_id=ID, traceparent="00-…")["correlation_id"] == str(ID)
    for version in (0, -1, True, "1", None):
        with pytest.raises(EventError, match="versions are whole numbers"):
            create_standard_headers(ID, "abc", version)  # type: ignore[arg-type]
    with pytest.raises(EventError, match="event_id is empty"):
        create_standard_headers("")


@pytest.mark.parametrize(
    ("event_type", "metadata", "key"),
    [
        ("assessment.result.published", {"cj_assessment_job_id": "job-1", "batch_id": "b"}, "job-1"),
        ("cj_assessment.completed", {"cj_assessment_job_id": 17}, "17"),
        ("spellcheck.phase.completed", {"batch_id": "b", "essay_id": "e"}, "b"),
        ("SPELLCHECK_PHASE_COMPLETED", {"batch_id": "b"}, "b"),
        ("essay.spellcheck.completed", {"data": {"batch_id": "b"}}, "b"),
        ("spellcheck.result.published", {"batch_id": "b"}, "b"),
        ("nlp.result.published", {"batch_id": "b"}, "b"),
        ("essay.nlp.completed", {"batch_id": "b"}, "b"),
        ("student.matching.completed", {"batch_id": "b"}, "b"),
        ("essay.state.changed", {"entity_ref": "essay:1", "essay_id": "e"}, "essay:1"),
        ("essay.lifecycle.state.updated", {"essay_id": "e"}, "e"),
        ("essay.state.changed", {"entity_ref": "", "essay_id": "e"}, "e"),
        ("essay.state.changed", {"batch_id": "b"}, "agg"),
        ("ai.result.published", {"batch_id": "b"}, "agg"),
        ("spellcheck.phase.completed", {"batch_id": ""}, "agg"),
        ("spellcheck.phase.completed", {"batch_id": True}, "agg"),
        ("spellcheck.phase.completed", {"batch_id": None}, "agg"),
        ("spellcheck.phase.completed", None, "agg"),
        ("nlpx.done", {"batch_id": "b"}, "agg"),
    ],
)
def test_partition_key(event_type: str, metadata: Any, key: str) -> None:
    assert resolve_partition_key(event_type, "agg", metadata) == key


def test_partition_key_of_models() -> None:
    class Meta(pydantic.BaseModel):
        batch_id: UUID

    class Event(Enum):
        DONE = "spellcheck.phase.completed"

    assert resolve_partition_key(Event.DONE, ID, Meta(batch_id=ID)) == str(ID)
    assert resolve_partition_key("other", ID) == str(ID)
    with pytest.raises(TypeError, match="metadata is a list"):
        resolve_partition_key("other", ID, [1])
