-- Hands the table of a polling outbox over to cdc-relay while services write:
-- every row is published once, by the worker or by the relay, and in order.
-- docs/migration.md says when to call what, docs/adr/0019-handover.md why it is so.
--
-- Run it in the service's database as the owner of the table. When the worker is
-- history: drop schema cdc_relay_handover cascade.

create schema cdc_relay_handover;

-- One row per table that was taken over.
create table cdc_relay_handover.taken (
  tab   text primary key,        -- schema.table
  slot  name not null,
  mark  name not null,           -- the column that tells the worker what is published
  since text not null,           -- the relay's rows have this time in it, to the microsecond
  until text not null,           -- one microsecond later: the range for audit and repair
  value text not null,           -- since, as SQL of the column's type
  lsn   pg_lsn not null          -- what commits before it is the worker's, the rest the relay's
);

-- Draws the line. From the lock to the end of the transaction nobody inserts into
-- the table, and nobody has inserted who is still under way. So everything that
-- has been inserted commits before lsn, and everything to come commits after it
-- and is marked by the trigger. It waits 5 s for the lock at most, and changes
-- nothing if it does not get it.
create function cdc_relay_handover.take_over(tab regclass, slot name, mark name default 'published_at',
  out since text, out until text, out lsn pg_lsn)
language plpgsql set lock_timeout = '5s' as $$
declare
  typ text := (select format_type(a.atttypid, null) from pg_attribute a
    where a.attrelid = tab and a.attname = mark and a.attnum > 0 and not a.attisdropped);
  fn  text := format('cdc_relay_handover.%I', 'mark_' || tab::oid);
  at  timestamptz;
  value text;
begin
  if typ is null or typ not in ('timestamp with time zone', 'timestamp without time zone') then
    raise exception 'table % has no column % that holds a time', tab, mark
      using hint = 'name the column the worker sets when a row is published: mark => ''COLUMN''';
  end if;
  if not exists (select from pg_publication_tables t join pg_publication p using (pubname)
      where p.pubinsert and format('%I.%I', t.schemaname, t.tablename)::regclass = tab) then
    raise exception 'no publication holds the inserts of table %: the relay would never see them', tab
      using hint = 'create publication cdc_relay for table ' || tab || ' with (publish = ''insert'', publish_via_partition_root = true)';
  end if;
  if not exists (select from pg_replication_slots s where s.slot_name = slot and s.database = current_database()
      and s.plugin = 'pgoutput' and s.confirmed_flush_lsn is not null) then
    raise exception 'slot % is none of database %: what is written from now on would be lost', slot, current_database()
      using hint = format('select pg_create_logical_replication_slot(%L, ''pgoutput'')', slot);
  end if;

  execute format('lock table %s in share row exclusive mode', tab);
  at := clock_timestamp();
  since := to_char(at at time zone 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"');
  until := to_char((at + interval '1 microsecond') at time zone 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"');
  value := format('%L::%s', case typ when 'timestamp with time zone' then since else rtrim(since, 'Z') end, typ);
  execute format('create function %s() returns trigger language plpgsql as %L', fn, format('begin new.%I := %s; return new; end', mark, value));
  execute format('create trigger cdc_relay_handover before insert on %s for each row execute function %s()', tab, fn);
  lsn := pg_current_wal_insert_lsn();
  insert into cdc_relay_handover.taken values (cdc_relay_handover.full_name(tab), slot, mark, since, until, value, lsn);
  perform set_config('synchronous_commit', 'on', true); -- the slot is advanced to what is on disk
end $$;

-- schema.table, whatever the search_path.
create function cdc_relay_handover.full_name(tab regclass) returns text
language sql stable as $$
  select n.nspname || '.' || c.relname from pg_class c join pg_namespace n on n.oid = c.relnamespace where c.oid = tab
$$;

create function cdc_relay_handover.entry(tab regclass) returns cdc_relay_handover.taken
language plpgsql stable as $$
declare t cdc_relay_handover.taken;
begin
  select * into t from cdc_relay_handover.taken x where x.tab = cdc_relay_handover.full_name(entry.tab);
  if not found then
    raise exception 'table % was not taken over', tab using hint = 'select * from cdc_relay_handover.take_over(...)';
  end if;
  return t;
end $$;

-- When the worker has published what is its own, brings the slot to the line, and
-- returns it. Refuses before. given_up is a condition for rows the worker does not
-- try any more: 'retry_count >= 5'.
create function cdc_relay_handover.settle(tab regclass, given_up text default 'false') returns pg_lsn
language plpgsql as $$
declare
  t cdc_relay_handover.taken := cdc_relay_handover.entry(tab);
  s pg_lsn;
  n bigint;
begin
  execute format('select count(*) from %s where %I is null and not coalesce((%s), false)', tab, t.mark, given_up) into n;
  if n > 0 then
    raise exception '% rows of table % are still the worker''s', n, tab using hint = 'let it publish them, and ask again';
  end if;
  select confirmed_flush_lsn into s from pg_replication_slots where slot_name = t.slot;
  if s is null or s > t.lsn then
    raise exception 'slot % stands at %, and not before %: it was read, or made anew', t.slot, coalesce(s::text, 'nothing'), t.lsn
      using hint = 'give the table back (release, give_back), and begin again';
  end if;
  if s < t.lsn then
    select end_lsn into s from pg_replication_slot_advance(t.slot, t.lsn);
  end if;
  if s <> t.lsn then
    raise exception 'slot % went to % instead of %', t.slot, s, t.lsn;
  end if;
  return s;
end $$;

-- The way back, first half, with the relay and the worker stopped: what is
-- inserted from now on is the worker's.
create function cdc_relay_handover.release(tab regclass) returns void
language plpgsql set lock_timeout = '5s' as $$
begin
  perform cdc_relay_handover.entry(tab);
  execute format('drop trigger if exists cdc_relay_handover on %s', tab);
end $$;

-- Second half: of the relay's rows those that are not in Kafka (cdc-relay audit
-- names them, by the table's column id) are the worker's as well; all of them
-- where ids is null, because the relay never ran. Returns how many.
create function cdc_relay_handover.give_back(tab regclass, ids text[], id name default 'id') returns bigint
language plpgsql as $$
declare
  t cdc_relay_handover.taken := cdc_relay_handover.entry(tab);
  n bigint;
begin
  if exists (select from pg_trigger g where g.tgrelid = tab and g.tgname = 'cdc_relay_handover') then
    raise exception 'rows of table % are still marked for the relay', tab using hint = format('select cdc_relay_handover.release(%L)', tab);
  end if;
  execute format('update %s set %I = null where %I = %s and ($1 is null or %I::text = any($1))', tab, t.mark, t.mark, t.value, id) using ids;
  get diagnostics n = row_count;
  return n;
end $$;

-- The end of a way back: nothing of the handover is left but what the worker did.
create function cdc_relay_handover.forget(tab regclass) returns void
language plpgsql as $$
begin
  perform cdc_relay_handover.entry(tab);
  execute format('drop function if exists %I.%I() cascade', 'cdc_relay_handover', 'mark_' || tab::oid);
  delete from cdc_relay_handover.taken x where x.tab = cdc_relay_handover.full_name(forget.tab);
end $$;
