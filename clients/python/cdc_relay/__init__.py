"""Write events to the outbox of cdc-relay, in the caller's own transaction.

The events exist if and only if the transaction commits; cdc-relay reads them from
Postgres' write-ahead log and brings them to Kafka exactly once. The table is made
by ``cdc-relay migrate``; a service needs membership in the role
``cdc_relay_writer``. The package imports no driver: it works with the one that the
given session comes from.
"""

from .dual import DualEventPublisher, SyncDualEventPublisher
from .errors import (
    DuplicateEventError,
    EventError,
    NoTransactionError,
    OutboxError,
    OutboxSetupError,
    UnsupportedSessionError,
)
from .event import OutboxEvent
from .headers import create_standard_headers
from .keys import resolve_partition_key
from .outbox import OutboxManager, SyncOutboxManager

__all__ = [
    "DualEventPublisher",
    "DuplicateEventError",
    "EventError",
    "NoTransactionError",
    "OutboxError",
    "OutboxEvent",
    "OutboxManager",
    "OutboxSetupError",
    "SyncDualEventPublisher",
    "SyncOutboxManager",
    "UnsupportedSessionError",
    "create_standard_headers",
    "resolve_partition_key",
]
