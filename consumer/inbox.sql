-- The inbox of a consumer: which events its own database has seen. A consumer
-- claims an event in the transaction that holds its work, so that the claim is
-- there if and only if the work is.
--
-- One statement, so that any driver and any migration tool can run it as it is,
-- and atomic. It may run again and again: what is up to date is left alone, and
-- so is what a newer release made. Needs PostgreSQL 14 or newer and the right to
-- create schema cdc_relay, or to create in it.
--
-- It is not one of the numbered migrations of the outbox: it lies in the
-- database of whoever consumes. See docs/adr/0018-inbox.md.

do $inbox$
declare
  wanted    constant integer default 1; -- what inbox_version() below returns
  installed integer default 0;
begin
  if to_regprocedure('cdc_relay.inbox_version()') is not null then
    execute 'select cdc_relay.inbox_version()' into installed;
  end if;
  if installed >= wanted then
    return; -- without a lock: every instance of a service may run this when it starts
  end if;

  -- The number is that of `cdc-relay migrate`, which makes the same schema:
  -- "cdcrelay" in bytes.
  perform pg_advisory_xact_lock(7161958650404954489);

  -- "create schema if not exists" asks for the privilege even if it exists.
  if to_regnamespace('cdc_relay') is null then
    create schema cdc_relay;
  end if;

  -- Not partitioned by time: the primary key would have to hold the time, and
  -- would no longer refuse the event that comes again after the next partition
  -- has begun. event_id is text, because a row of an existing table may be
  -- identified by a number; "C", because nobody reads ids in alphabetical order.
  create table if not exists cdc_relay.inbox (
    consumer_group text        not null,
    event_id       text        not null collate "C",
    topic          text,
    partition      integer,
    record_offset  bigint,
    received_at    timestamptz not null default now(),
    constraint inbox_pkey primary key (consumer_group, event_id)
  );

  -- For inbox_prune. New rows enter at its right end, and all rows of one
  -- transaction have one time, which a btree stores once.
  create index if not exists inbox_received_at on cdc_relay.inbox (received_at);

  create or replace function cdc_relay.inbox_claim(
    consumer_group text,
    event_id       text,
    topic          text default null,
    partition      integer default null,
    record_offset  bigint default null
  ) returns boolean
  language plpgsql
  volatile
  security invoker
  set search_path = pg_catalog, pg_temp
  as $claim$
  #variable_conflict use_variable
  begin
    if coalesce(consumer_group, '') = '' then
      raise exception using errcode = 'invalid_parameter_value', message = 'inbox_claim: consumer_group is empty';
    end if;
    if coalesce(event_id, '') = '' then
      raise exception using errcode = 'invalid_parameter_value', message = 'inbox_claim: event_id is empty';
    end if;
    -- A claim of the same event in a transaction that has not ended is waited
    -- for: it commits, and this is a duplicate, or it rolls back, and this is not.
    insert into cdc_relay.inbox (consumer_group, event_id, topic, partition, record_offset)
    values (consumer_group, event_id, topic, partition, record_offset)
    on conflict do nothing;
    return found;
  end
  $claim$;

  create or replace function cdc_relay.inbox_claim_all(
    consumer_group text,
    event_ids      text[],
    topics         text[] default null,
    partitions     integer[] default null,
    record_offsets bigint[] default null
  ) returns boolean[]
  language plpgsql
  volatile
  security invoker
  set search_path = pg_catalog, pg_temp
  as $claim$
  #variable_conflict use_variable
  declare
    claimed boolean[];
  begin
    if coalesce(consumer_group, '') = '' then
      raise exception using errcode = 'invalid_parameter_value', message = 'inbox_claim_all: consumer_group is empty';
    end if;
    if array_position(event_ids, null) is not null or array_position(event_ids, '') is not null
       or greatest(cardinality(topics), cardinality(partitions), cardinality(record_offsets)) > cardinality(event_ids) then
      raise exception using errcode = 'invalid_parameter_value',
        message = 'inbox_claim_all: an event_id is empty, or an array is longer than that of the ids';
    end if;
    -- In order of the ids, whatever the order of the records: two transactions
    -- that claim the same events then wait for one another in one direction only.
    with given as (
      select u.event_id, u.topic, u.partition, u.record_offset, u.n
      from unnest(event_ids, topics, partitions, record_offsets) with ordinality as u (event_id, topic, partition, record_offset, n)
    ), firsts as (
      select distinct on (g.event_id collate "C") g.event_id, g.topic, g.partition, g.record_offset, g.n
      from given as g
      order by g.event_id collate "C", g.n
    ), inserted as (
      insert into cdc_relay.inbox as i (consumer_group, event_id, topic, partition, record_offset)
      select consumer_group, f.event_id, f.topic, f.partition, f.record_offset
      from firsts as f
      order by f.event_id collate "C"
      on conflict do nothing
      returning i.event_id
    )
    select array_agg(i.event_id is not null order by g.n) into claimed
    from given as g
      left join firsts as f on f.n = g.n
      left join inserted as i on i.event_id = f.event_id;
    return coalesce(claimed, '{}');
  end
  $claim$;

  create or replace function cdc_relay.inbox_prune(
    older_than     interval,
    max_rows       integer default 5000,
    consumer_group text default null
  ) returns bigint
  language plpgsql
  volatile
  security invoker
  set search_path = pg_catalog, pg_temp
  as $prune$
  #variable_conflict use_variable
  declare
    pruned bigint;
  begin
    if older_than is null or older_than <= interval '0' or max_rows is null or max_rows <= 0 then
      raise exception using errcode = 'invalid_parameter_value', message = 'inbox_prune: older_than and max_rows must be above zero',
        hint = 'Keep rows for longer than the topics keep records: select cdc_relay.inbox_prune(interval ''30 days'')';
    end if;
    delete from cdc_relay.inbox as i
    where i.ctid = any (array(
      select o.ctid
      from cdc_relay.inbox as o
      where o.received_at < now() - older_than and (consumer_group is null or o.consumer_group = consumer_group)
      order by o.received_at
      limit max_rows));
    get diagnostics pruned = row_count;
    return pruned;
  end
  $prune$;

  create or replace function cdc_relay.inbox_version() returns integer
  language sql
  immutable
  security invoker
  set search_path = pg_catalog, pg_temp
  as 'select 1';

  comment on table cdc_relay.inbox is 'Events that consumers of this database have claimed, each in the transaction of its work';
  comment on column cdc_relay.inbox.consumer_group is 'Who claimed it; a consumer that does different work with one event uses different names';
  comment on column cdc_relay.inbox.event_id is 'Header event_id, or TOPIC/event_id where ids are unique in a topic only';
  comment on column cdc_relay.inbox.record_offset is 'Where the record was that came first, with topic and partition';
  comment on column cdc_relay.inbox.received_at is 'When the claiming transaction began; what inbox_prune counts from';
  comment on function cdc_relay.inbox_claim(text, text, text, integer, bigint) is
    'true: the first time, do the work in this transaction; false: a duplicate, do nothing';
  comment on function cdc_relay.inbox_claim_all(text, text[], text[], integer[], bigint[]) is
    'inbox_claim for many events in one statement; the answers are in the order of the ids';
  comment on function cdc_relay.inbox_prune(interval, integer, text) is
    'Forgets at most max_rows claims, oldest first, and returns how many; call it until it returns less than max_rows';

  -- A group role, as those of the outbox: grant cdc_relay_consumer to SERVICE.
  -- Roles belong to the whole cluster: the first database creates it.
  if not exists (select from pg_catalog.pg_roles where rolname = 'cdc_relay_consumer') then
    begin
      create role cdc_relay_consumer nologin;
    exception
      when duplicate_object or unique_violation then
        null; -- another database's inbox was first
      when insufficient_privilege then
        raise notice using message = 'role cdc_relay_consumer does not exist and ' || current_user || ' may not create it: '
          'only the owner of cdc_relay.inbox and superusers can use the inbox until somebody grants it to others (docs/consuming.md)';
    end;
  end if;
  revoke all on function cdc_relay.inbox_claim(text, text, text, integer, bigint),
    cdc_relay.inbox_claim_all(text, text[], text[], integer[], bigint[]),
    cdc_relay.inbox_prune(interval, integer, text) from public;
  if exists (select from pg_catalog.pg_roles where rolname = 'cdc_relay_consumer') then
    grant usage on schema cdc_relay to cdc_relay_consumer;
    grant select, insert, delete on cdc_relay.inbox to cdc_relay_consumer;
    grant execute on function cdc_relay.inbox_claim(text, text, text, integer, bigint),
      cdc_relay.inbox_claim_all(text, text[], text[], integer[], bigint[]),
      cdc_relay.inbox_prune(interval, integer, text) to cdc_relay_consumer;
  end if;
end
$inbox$;
