"""Which key an event is published under.

Since the contract of the relay (events.yaml, ``key:``) can hold the same rules,
a service needs this only while it sets ``message_key`` itself; a message_key
wins over the contract."""

from __future__ import annotations

import re
from collections.abc import Mapping
from enum import Enum
from typing import Any
from uuid import UUID

from ._json import to_plain

# Words of the event type, any of which (and all of the second set) must be in it;
# then the names that are tried in the event's metadata. The first rule counts.
_RULES: tuple[tuple[frozenset[str], frozenset[str], tuple[str, ...]], ...] = (
    (frozenset({"spellcheck", "nlp"}), frozenset(), ("batch_id",)),
    (frozenset({"match", "matched", "matching"}), frozenset({"student"}), ("batch_id",)),
    (frozenset({"cj", "assessment"}), frozenset(), ("cj_assessment_job_id",)),
    (frozenset({"state", "lifecycle"}), frozenset({"essay"}), ("entity_ref", "essay_id")),
)


def resolve_partition_key(
    event_type: str | Enum, aggregate_id: str | UUID | int, metadata: Mapping[str, Any] | Any | None = None
) -> str:
    """The key of an event, so that events about one thing keep their order:

    * results of CJ assessments: ``cj_assessment_job_id``
    * spell check, NLP and student matching: ``batch_id``
    * state of an essay's life cycle: ``entity_ref``, else ``essay_id``
    * everything else, and where ``metadata`` lacks these: ``aggregate_id``

    ``event_type`` is the name in the contract (``essay.state.changed``) or that of
    the enum member (``ESSAY_STATE_CHANGED``). ``metadata`` is a mapping or a
    Pydantic model; names are looked for in it and, as in an envelope, in its ``data``.
    """
    name = str(event_type.value if isinstance(event_type, Enum) else event_type)
    words = set(re.split(r"[^a-z0-9]+", name.lower()))
    places = _places(metadata)
    for some, every, names in _RULES:
        if not words & some or not every <= words:
            continue
        for field in names:
            for place in places:
                value = place.get(field)
                if isinstance(value, (str, int)) and not isinstance(value, bool) and value != "":
                    return str(value)
        break
    return str(aggregate_id)


def _places(metadata: Any) -> list[dict[str, Any]]:
    plain = {} if metadata is None else to_plain(metadata)
    if not isinstance(plain, dict):
        raise TypeError(f"metadata is a {type(metadata).__name__}; give a mapping or a Pydantic model")
    data = plain.get("data")
    return [plain, data] if isinstance(data, dict) else [plain]
