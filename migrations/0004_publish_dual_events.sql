-- Thin and rich: two events about one thing, a thin one for those who steer the
-- flow and a rich one for those who need the data, under one correlation id.
-- Both rows are written by one statement of one transaction, and the relay never
-- cuts a Postgres transaction: both become visible in Kafka together.

-- +goose Up
-- What every way into the outbox demands of an event. caller begins the message.
-- +goose StatementBegin
create or replace function cdc_relay.check_event(
  caller         text,
  aggregate_type text,
  aggregate_id   text,
  event_type     text,
  event_data     json,
  topic          text,
  headers        json
) returns void
language plpgsql
immutable
security invoker
set search_path = pg_catalog, pg_temp
as $$
declare
  bad text;
begin
  if coalesce(aggregate_type, '') = '' then
    raise exception '%: aggregate_type is empty', caller using errcode = 'invalid_parameter_value';
  end if;
  if coalesce(aggregate_id, '') = '' then
    raise exception '%: aggregate_id is empty', caller using errcode = 'invalid_parameter_value';
  end if;
  if coalesce(event_type, '') = '' then
    raise exception '%: event_type is empty', caller using errcode = 'invalid_parameter_value';
  end if;
  if coalesce(json_typeof(event_data), 'null') <> 'object' then
    raise exception '%: event_data of % is not a JSON object but %', caller, event_type, coalesce(json_typeof(event_data), 'null')
      using errcode = 'invalid_parameter_value', hint = 'Put the value into an object, as in {"value": …}.';
  end if;
  if topic is not null and (topic !~ '^[a-zA-Z0-9._-]{1,249}$' or topic in ('.', '..')) then
    raise exception '%: "%" is not the name of a Kafka topic', caller, topic
      using errcode = 'invalid_parameter_value', hint = 'Letters, digits, dot, underscore and hyphen, at most 249; null lets the contract decide.';
  end if;
  if headers is null or json_typeof(headers) = 'null' then
    return;
  end if;
  if json_typeof(headers) <> 'object' then
    raise exception '%: headers is not a JSON object of strings but %', caller, json_typeof(headers)
      using errcode = 'invalid_parameter_value', hint = 'As in {"trace_id": "…"}.';
  end if;
  select h.key into bad from json_each(headers) as h where h.key = '' or json_typeof(h.value) <> 'string' limit 1;
  if found then
    raise exception '%: header "%" is not a string with a name', caller, bad
      using errcode = 'invalid_parameter_value', hint = 'As in {"trace_id": "…"}.';
  end if;
end
$$;
-- +goose StatementEnd

comment on function cdc_relay.check_event(text, text, text, text, json, text, json) is
  'Says what is wrong with an event; used by the functions that write one';

-- The id of an event, which is what consumers will see: the header event_id, else
-- that of an envelope (event_data whose event_type is the event's), if it is a
-- UUID; else a new one. Postgres cannot read inside of a document with \u0000.
-- +goose StatementBegin
create or replace function cdc_relay.event_id(headers json, event_type text, event_data json) returns uuid
language plpgsql
volatile
security invoker
set search_path = pg_catalog, pg_temp
as $$
declare
  shape constant text := '^[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}$';
  id    text;
begin
  if json_typeof(headers) = 'object' then
    id := headers ->> 'event_id';
    if id ~* shape then
      return id::uuid;
    end if;
  end if;
  if strpos(event_data::text, '"event_id"') > 0 and strpos(event_data::text, '\u0000') = 0
     and event_data ->> 'event_type' = event_type then
    id := event_data ->> 'event_id';
    if id ~* shape then
      return id::uuid;
    end if;
  end if;
  return gen_random_uuid();
end
$$;
-- +goose StatementEnd

comment on function cdc_relay.event_id(json, text, json) is 'The id an event carries, in its headers or its envelope, else a new one';

-- As in 0002, but the row takes the id that the event carries: what the function
-- returns, the table holds and consumers see is one id.
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
  event_id uuid;
begin
  perform cdc_relay.check_event('publish_to_outbox', aggregate_type, aggregate_id, event_type, event_data, topic, headers);
  event_id := cdc_relay.event_id(headers, event_type, event_data);
  insert into cdc_relay.outbox (id, aggregate_type, aggregate_id, event_type, topic, message_key, headers, payload)
  values (event_id, aggregate_type, aggregate_id, event_type, topic, message_key,
          case when json_typeof(headers) = 'object' then headers else '{}' end, event_data);
  return event_id;
end
$$;
-- +goose StatementEnd

-- thin_event and rich_event are objects with the names of publish_to_outbox'
-- parameters: aggregate_type, aggregate_id, event_type and event_data are
-- required; topic, message_key and headers may be there.
--
-- correlation_id becomes the header correlation_id of both. null: the one that
-- the events carry, in their headers or as correlation_id of their event_data;
-- if they carry none, a new UUID. An event that carries another is refused.
--
-- partition_key is the key of both records, unless an event has a message_key.
-- null: the contract decides.
--
-- A character zero (\u0000) in event_data cannot be read out of the surrounding
-- object by Postgres; publish_to_outbox can write it.
-- +goose StatementBegin
create or replace function cdc_relay.publish_dual_events(
  thin_event     json,
  rich_event     json,
  correlation_id text default null,
  partition_key  text default null,
  out thin_event_id uuid,
  out rich_event_id uuid
) returns record
language plpgsql
volatile
security invoker
set search_path = pg_catalog, pg_temp
as $$
#variable_conflict use_variable
declare
  names  constant text[] := array['thin_event', 'rich_event'];
  events json[] := array[thin_event, rich_event];
  heads  json[] := array[null, null]::json[];
  ids    uuid[] := array[null, null]::uuid[];
  e      json;
  caller text;
  bad    text;
  place  text;
  one    text := correlation_id;
begin
  if one = '' then
    raise exception 'publish_dual_events: correlation_id is empty'
      using errcode = 'invalid_parameter_value', hint = 'null takes the one of the events, or makes one.';
  end if;
  for i in 1..2 loop
    e := events[i];
    caller := 'publish_dual_events: ' || names[i];
    if coalesce(json_typeof(e), 'null') <> 'object' then
      raise exception '% is not a JSON object but %', caller, coalesce(json_typeof(e), 'null')
        using errcode = 'invalid_parameter_value', hint = 'As in {"aggregate_type": "essay", "aggregate_id": "…", "event_type": "…", "event_data": {…}}.';
    end if;
    select k into bad from json_object_keys(e) as k
     where k not in ('aggregate_type', 'aggregate_id', 'event_type', 'event_data', 'topic', 'message_key', 'headers') limit 1;
    if found then
      raise exception '% has the unknown key "%"', caller, bad
        using errcode = 'invalid_parameter_value', hint = 'An event has aggregate_type, aggregate_id, event_type, event_data, topic, message_key and headers.';
    end if;
    select f.key into bad from json_each(e) as f
     where f.key not in ('event_data', 'headers') and json_typeof(f.value) not in ('string', 'number', 'null') limit 1;
    if found then
      raise exception '%: % is not text but %', caller, bad, json_typeof(e -> bad) using errcode = 'invalid_parameter_value';
    end if;
    perform cdc_relay.check_event(caller, e ->> 'aggregate_type', e ->> 'aggregate_id', e ->> 'event_type', e -> 'event_data', e ->> 'topic', e -> 'headers');
    foreach place in array array['headers', 'event_data'] loop
      bad := e -> place ->> 'correlation_id';
      one := coalesce(one, nullif(bad, ''));
      if bad <> '' and bad <> one then
        raise exception '%: correlation_id of its % is "%", that of the pair is "%"', caller, place, bad, one
          using errcode = 'invalid_parameter_value', hint = 'A pair has one correlation id: leave it out, or give the same everywhere.';
      end if;
    end loop;
  end loop;

  one := coalesce(one, gen_random_uuid()::text);
  for i in 1..2 loop
    ids[i] := cdc_relay.event_id(events[i] -> 'headers', events[i] ->> 'event_type', events[i] -> 'event_data');
    heads[i] := (select json_object_agg(h.key, h.value order by h.n)
      from (select 'correlation_id' as key, to_json(one) as value, 0 as n
            union all
            select g.key, g.value, g.n
              from json_each(case when json_typeof(events[i] -> 'headers') = 'object' then events[i] -> 'headers' else '{}' end) with ordinality as g(key, value, n)
             where g.key <> 'correlation_id') as h);
  end loop;
  insert into cdc_relay.outbox (id, aggregate_type, aggregate_id, event_type, topic, message_key, headers, payload)
  select ids[i], events[i] ->> 'aggregate_type', events[i] ->> 'aggregate_id', events[i] ->> 'event_type', events[i] ->> 'topic',
         coalesce(events[i] ->> 'message_key', partition_key), heads[i], events[i] -> 'event_data'
    from generate_series(1, 2) as i;
  thin_event_id := ids[1];
  rich_event_id := ids[2];
end
$$;
-- +goose StatementEnd

comment on function cdc_relay.publish_dual_events(json, json, text, text) is
  'Writes a thin and a rich event under one correlation id in the caller''s transaction and returns their ids';

-- +goose StatementBegin
do $$
begin
  revoke all on function cdc_relay.check_event(text, text, text, text, json, text, json) from public;
  revoke all on function cdc_relay.event_id(json, text, json) from public;
  revoke all on function cdc_relay.publish_dual_events(json, json, text, text) from public;
  if exists (select from pg_catalog.pg_roles where rolname = 'cdc_relay_writer') then
    grant execute on function cdc_relay.check_event(text, text, text, text, json, text, json) to cdc_relay_writer;
    grant execute on function cdc_relay.event_id(json, text, json) to cdc_relay_writer;
    grant execute on function cdc_relay.publish_dual_events(json, json, text, text) to cdc_relay_writer;
  end if;
end
$$;
-- +goose StatementEnd

-- +goose Down
drop function if exists cdc_relay.publish_dual_events(json, json, text, text);
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

drop function if exists cdc_relay.event_id(json, text, json);
drop function if exists cdc_relay.check_event(text, text, text, text, json, text, json);
