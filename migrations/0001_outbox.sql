-- The outbox: services insert here inside their own transactions, the relay
-- reads the inserts from the write-ahead log. Nothing polls this table and the
-- relay never writes to it.

-- +goose Up
-- +goose StatementBegin
do $$
begin
  -- "create schema if not exists" asks for the privilege even if it exists.
  if to_regnamespace('cdc_relay') is null then
    create schema cdc_relay;
  end if;
end
$$;
-- +goose StatementEnd

comment on schema cdc_relay is 'cdc-relay: transactional outbox';

-- Not partitioned: see docs/adr/0002-outbox-table-is-not-partitioned.md.
-- payload and headers are json, not jsonb: the server prints every row as text
-- for the relay, and printing jsonb takes as long as all the rest.
create table if not exists cdc_relay.outbox (
  id             uuid        not null default gen_random_uuid() primary key,
  aggregate_type text        not null constraint outbox_aggregate_type_not_empty check (aggregate_type <> ''),
  aggregate_id   text        not null constraint outbox_aggregate_id_not_empty check (aggregate_id <> ''),
  event_type     text        not null constraint outbox_event_type_not_empty check (event_type <> ''),
  topic          text        constraint outbox_topic_is_a_kafka_topic
                             check (topic ~ '^[a-zA-Z0-9._-]{1,249}$' and topic not in ('.', '..')),
  message_key    text,
  headers        json        not null default '{}' constraint outbox_headers_is_an_object check (json_typeof(headers) = 'object'),
  payload        json        not null constraint outbox_payload_is_an_object check (json_typeof(payload) = 'object'),
  occurred_at    timestamptz not null default clock_timestamp(),
  created_at     timestamptz not null default now()
);

-- For housekeeping: delete in batches what is older than the retention. A
-- btree, because batches are read in order of time, and because a BRIN index
-- stops to be selective once new rows fill the pages of deleted ones.
create index if not exists outbox_created_at on cdc_relay.outbox (created_at);

-- REPLICA IDENTITY stays DEFAULT (the primary key): the publication publishes
-- inserts only, and an insert carries the whole row whatever the identity.
-- FULL would only make the deletes of housekeeping heavier.

comment on table  cdc_relay.outbox is 'Events of this database, in the transactions that made them; read from the WAL by cdc-relay';
comment on column cdc_relay.outbox.id is 'Identifies the event; header event_id unless headers say otherwise';
comment on column cdc_relay.outbox.aggregate_type is 'Kind of thing the event is about, as in essay';
comment on column cdc_relay.outbox.aggregate_id is 'Which of them; the record''s key when nothing else gives one';
comment on column cdc_relay.outbox.event_type is 'What happened, as the contract names it';
comment on column cdc_relay.outbox.topic is 'Kafka topic; null: the contract decides';
comment on column cdc_relay.outbox.message_key is 'Key of the record; null: the contract decides';
comment on column cdc_relay.outbox.headers is 'More headers of the record: an object of strings';
comment on column cdc_relay.outbox.payload is 'The event: an object that fits the event''s schema';
comment on column cdc_relay.outbox.occurred_at is 'When it happened';
comment on column cdc_relay.outbox.created_at is 'When the transaction began; what retention counts from';

-- +goose Down
-- The schema stays: it holds the table that says which migrations ran.
drop table if exists cdc_relay.outbox;
