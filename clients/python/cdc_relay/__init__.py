"""Write events to the outbox of cdc-relay, in the caller's own transaction."""
