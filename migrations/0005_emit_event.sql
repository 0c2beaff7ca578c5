-- An outbox without a table: the event is a logical message in the write-ahead
-- log, of the caller's transaction, in one order with the rows of the table.
-- Nothing is stored, so nothing has to be deleted; nor can `cdc-relay audit` and
-- `repair` look for it, and what no relay reads is gone with the log. The relay
-- reads such messages only with
--
--   postgres: {message_prefix: cdc_relay}
--
-- Who may call it: members of cdc_relay_writer. But Postgres lets every role call
-- pg_logical_emit_message itself. Where that matters, a superuser takes it away,
-- in each database, and gives it to the owner of this function, with whose
-- rights it runs (docs/writing-events.md has the statement).

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

comment on function cdc_relay.emit_event(text, text, text, json, text, text, json, uuid, timestamptz) is
  'Writes one event into the log, not into the table, in the caller''s transaction, and returns its id';

-- +goose StatementBegin
do $$
begin
  revoke all on function cdc_relay.emit_event(text, text, text, json, text, text, json, uuid, timestamptz) from public;
  if exists (select from pg_catalog.pg_roles where rolname = 'cdc_relay_writer') then
    grant execute on function cdc_relay.emit_event(text, text, text, json, text, text, json, uuid, timestamptz) to cdc_relay_writer;
  end if;
end
$$;
-- +goose StatementEnd

-- +goose Down
drop function if exists cdc_relay.emit_event(text, text, text, json, text, text, json, uuid, timestamptz);
