"""What can go wrong. Whatever else the driver raises (a lost connection, a
serialization failure) passes through unchanged, so that retries of the service
work as before."""


class OutboxError(Exception):
    """Base of the errors of this package."""


class EventError(OutboxError, ValueError):
    """An event is not one. The database was not asked."""

    def __init__(self, field: str, reason: str, event_type: str = "") -> None:
        of = f" of {event_type!r}" if event_type else ""
        super().__init__(f"{field}{of} {reason}")
        self.field = field
        self.reason = reason
        self.event_type = event_type


class NoTransactionError(OutboxError):
    """The session has no transaction: the event would be published whatever
    becomes of the data it is about."""


class UnsupportedSessionError(OutboxError, TypeError):
    """Not a session this package can write with."""


class OutboxSetupError(OutboxError):
    """The database lacks the outbox, or the role its rights; the message says
    what to run. The transaction is failed and must be rolled back."""


class DuplicateEventError(OutboxError):
    """The outbox holds an event with this id already. The transaction is failed
    and must be rolled back."""
