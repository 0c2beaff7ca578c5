-- emit_event as before, but for PostgreSQL 19, where wal_level = replica is enough:
-- logical decoding comes with the first logical slot of the server and goes with
-- the last, and effective_wal_level (no setting; there is none before 19) tells. A
-- message written while there is no slot is in the log, but a slot made later
-- begins behind it: it is refused as before, where wal_level was not logical. A
-- transaction that has written already when the first slot is made is one the slot
-- waits for and does not bring; effective_wal_level stays replica to its end.

-- +goose Up
-- +goose StatementBegin
create or replace function cdc_relay.emit_event(
  aggregate_type text,
  aggregate_id   text,
  event_type     text,
  event_data     json,
  topic          text default null,
  message_key    text default null,
  headers        json default null,
  event_id       uuid default null,
  occurred_at    timestamptz default null
) returns uuid
language plpgsql
volatile
security definer
set search_path = pg_catalog, pg_temp
as $$
#variable_conflict use_variable
declare
  id        uuid;
  effective text := current_setting('effective_wal_level', true); -- null before 19
begin
  perform cdc_relay.check_event('emit_event', aggregate_type, aggregate_id, event_type, event_data, topic, headers);
  if not isfinite(occurred_at) then
    raise exception 'emit_event: occurred_at is %', occurred_at using errcode = 'invalid_parameter_value';
  end if;
  id := coalesce(event_id, cdc_relay.event_id(headers, event_type, event_data));
  -- The message would be written, and nobody could ever read it.
  if effective = 'replica' then
    raise exception 'emit_event: the server has no logical replication slot, or had none when this transaction began, so that no relay can read the event'
      using errcode = 'object_not_in_prerequisite_state', hint = 'Start the relay, which makes its slot (cdc-relay run), and run the transaction again.';
  end if;
  if coalesce(effective, current_setting('wal_level')) <> 'logical' then
    raise exception 'emit_event: wal_level is %, so that no relay can read the event', current_setting('wal_level')
      using errcode = 'object_not_in_prerequisite_state',
        hint = 'Set wal_level = ' || case when effective is null then 'logical' else 'replica' end || ' and restart the server.';
  end if;
  -- As bytes, because a message is not converted to the reader's encoding.
  perform pg_logical_emit_message(true, 'cdc_relay', convert_to(json_build_object(
    'id', id, 'aggregate_type', aggregate_type, 'aggregate_id', aggregate_id, 'event_type', event_type,
    'topic', topic, 'message_key', message_key, 'headers', headers,
    'occurred_at', coalesce(occurred_at, clock_timestamp()), 'payload', event_data)::text, 'UTF8'));
  return id;
end
$$;
-- +goose StatementEnd

-- +goose Down
-- +goose StatementBegin
create or replace function cdc_relay.emit_event(
  aggregate_type text,
  aggregate_id   text,
  event_type     text,
  event_data     json,
  topic          text default null,
  message_key    text default null,
  headers        json default null,
  event_id       uuid default null,
  occurred_at    timestamptz default null
) returns uuid
language plpgsql
volatile
security definer
set search_path = pg_catalog, pg_temp
as $$
#variable_conflict use_variable
declare
  id uuid;
begin
  perform cdc_relay.check_event('emit_event', aggregate_type, aggregate_id, event_type, event_data, topic, headers);
  if not isfinite(occurred_at) then
    raise exception 'emit_event: occurred_at is %', occurred_at using errcode = 'invalid_parameter_value';
  end if;
  id := coalesce(event_id, cdc_relay.event_id(headers, event_type, event_data));
  -- The message would be written, and nobody could ever read it.
  if current_setting('wal_level') <> 'logical' then
    raise exception 'emit_event: wal_level is %, so that no relay can read the event', current_setting('wal_level')
      using errcode = 'object_not_in_prerequisite_state', hint = 'Set wal_level = logical and restart the server.';
  end if;
  -- As bytes, because a message is not converted to the reader's encoding.
  perform pg_logical_emit_message(true, 'cdc_relay', convert_to(json_build_object(
    'id', id, 'aggregate_type', aggregate_type, 'aggregate_id', aggregate_id, 'event_type', event_type,
    'topic', topic, 'message_key', message_key, 'headers', headers,
    'occurred_at', coalesce(occurred_at, clock_timestamp()), 'payload', event_data)::text, 'UTF8'));
  return id;
end
$$;
-- +goose StatementEnd
