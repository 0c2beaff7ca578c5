-- One function for every language that can send SQL.

-- +goose Up
-- +goose StatementBegin
create or replace function cdc_relay.publish_to_outbox(
  aggregate_type text,
  aggregate_id   text,
  event_type     text,
  event_data     json,
  topic          text default null,
  message_key    text default null,
  headers        json default null
) returns uuid
language plpgsql
volatile
security invoker
set search_path = pg_catalog, pg_temp
as $$
-- Parameters bear the names of columns; wherever both could be meant, the
-- parameter is.
#variable_conflict use_variable
declare
  -- Made here and not by RETURNING: that would ask writers for SELECT.
  event_id uuid := gen_random_uuid();
  bad      text;
begin
  if coalesce(aggregate_type, '') = '' then
    raise exception 'publish_to_outbox: aggregate_type is empty' using errcode = 'invalid_parameter_value';
  end if;
  if coalesce(aggregate_id, '') = '' then
    raise exception 'publish_to_outbox: aggregate_id is empty' using errcode = 'invalid_parameter_value';
  end if;
  if coalesce(event_type, '') = '' then
    raise exception 'publish_to_outbox: event_type is empty' using errcode = 'invalid_parameter_value';
  end if;
  if coalesce(json_typeof(event_data), 'null') <> 'object' then
    raise exception 'publish_to_outbox: event_data of % is not a JSON object but %', event_type, coalesce(json_typeof(event_data), 'null')
      using errcode = 'invalid_parameter_value', hint = 'Put the value into an object, as in {"value": …}.';
  end if;
  if topic is not null and (topic !~ '^[a-zA-Z0-9._-]{1,249}$' or topic in ('.', '..')) then
    raise exception 'publish_to_outbox: "%" is not the name of a Kafka topic', topic
      using errcode = 'invalid_parameter_value', hint = 'Letters, digits, dot, underscore and hyphen, at most 249; null lets the contract decide.';
  end if;
  if headers is not null then
    if json_typeof(headers) not in ('object', 'null') then
      raise exception 'publish_to_outbox: headers is not a JSON object of strings but %', json_typeof(headers)
        using errcode = 'invalid_parameter_value', hint = 'As in {"trace_id": "…"}.';
    end if;
    if json_typeof(headers) = 'object' then
      select h.key into bad from json_each(headers) as h where h.key = '' or json_typeof(h.value) <> 'string' limit 1;
      if found then
        raise exception 'publish_to_outbox: header "%" is not a string with a name', bad
          using errcode = 'invalid_parameter_value', hint = 'As in {"trace_id": "…"}.';
      end if;
    end if;
  end if;

  insert into cdc_relay.outbox (id, aggregate_type, aggregate_id, event_type, topic, message_key, headers, payload)
  values (event_id, aggregate_type, aggregate_id, event_type, topic, message_key,
          case when json_typeof(headers) = 'object' then headers else '{}' end, event_data);
  return event_id;
end
$$;
-- +goose StatementEnd

comment on function cdc_relay.publish_to_outbox(text, text, text, json, text, text, json) is
  'Writes one event in the caller''s transaction and returns its id. jsonb needs a cast: event_data => x::json';

-- +goose Down
drop function if exists cdc_relay.publish_to_outbox(text, text, text, json, text, text, json);
