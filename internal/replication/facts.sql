-- $1 slot, $2 publication, $3 tables as [{pos, name, nsp, rel}], $4 pid of our walsender.
-- Columns that came with a later version are read through to_jsonb: one text for 14 to 19.
with rel as (
  select w.pos, w.name, w.nsp, w.rel, c.oid, c.relpersistence, c.relkind, c.relowner
  from json_to_recordset($3::json) as w(pos int, name text, nsp text, rel text)
  left join pg_namespace n on n.nspname = w.nsp
  left join pg_class c on c.relnamespace = n.oid and c.relname = w.rel and c.relkind in ('r', 'p')
), entry as (
  select r.*, p.oid as pub, pr.oid as pr_oid, pr.xmin as pr_xmin, to_jsonb(pr) ->> 'prattrs' as attrs,
    (select jsonb_build_object('filter', to_jsonb(t) ->> 'rowfilter') from pg_publication_tables t
      where t.pubname = $2 and t.schemaname = r.nsp and t.tablename = r.rel) as listed
  from rel r
  join pg_publication p on p.pubname = $2
  left join pg_publication_rel pr on pr.prpubid = p.oid and pr.prrelid = r.oid
  where r.oid is not null
)
select jsonb_build_object(
  'system_id', (select system_identifier::text from pg_control_system()),
  -- The control file can lag behind a promotion; the name of the file being written does not.
  'timeline', case when pg_is_in_recovery() then (select timeline_id::bigint from pg_control_checkpoint())
    else ('x' || substr(pg_walfile_name(pg_current_wal_lsn()), 1, 8))::bit(32)::bigint end,
  'version', current_setting('server_version_num')::int,
  'in_recovery', pg_is_in_recovery(),
  'database', current_database(),
  'flush', case when pg_is_in_recovery() then null else pg_current_wal_flush_lsn() end,
  'wal_level', current_setting('wal_level'),
  'effective_wal_level', coalesce(current_setting('effective_wal_level', true), ''),
  'max_slots', current_setting('max_replication_slots')::int,
  'slots', (select count(*) from pg_replication_slots),
  'max_senders', current_setting('max_wal_senders')::int,
  'senders', (select count(*) from pg_stat_replication),
  'idle_slot_timeout', coalesce(current_setting('idle_replication_slot_timeout', true), ''),
  'max_slot_keep_size', current_setting('max_slot_wal_keep_size'),
  'role', session_user,
  'can_create', has_database_privilege(current_database(), 'CREATE'),
  'superuser', (select rolsuper from pg_roles where rolname = session_user),
  -- rds_replication stands for the attribute where the provider does not give it.
  'replication', (select bool_or(r.rolreplication or r.rolsuper) from pg_roles r where r.rolname = session_user)
    or exists (select 1 from pg_roles r where r.rolname = 'rds_replication' and pg_has_role(session_user, r.oid, 'member')),
  'slot', (select to_jsonb(s) from pg_replication_slots s where s.slot_name = $1),
  'publication', (select to_jsonb(p) || jsonb_build_object('oid', p.oid::bigint, 'xmin', p.xmin::text::bigint)
    from pg_publication p where p.pubname = $2),
  'entries', (select jsonb_agg(jsonb_build_object(
      'table', e.name, 'oid', coalesce(e.pr_oid::bigint, 0), 'xmin', coalesce(e.pr_xmin::text::bigint, 0),
      'table_oid', e.oid::bigint, 'persistence', e.relpersistence, 'filter', coalesce(e.listed ->> 'filter', ''),
      'columns', coalesce((select string_agg(a.attname, ', ' order by k.ord)
        from regexp_split_to_table(trim(both '[] ' from e.attrs), '[, ]+') with ordinality as k(num, ord)
        join pg_attribute a on a.attrelid = e.oid and a.attnum = k.num::int2), '')
    ) order by e.pos) from entry e where e.pr_oid is not null or e.listed is not null),
  'tables', (select jsonb_agg(jsonb_build_object(
      'name', r.name, 'exists', r.oid is not null, 'oid', coalesce(r.oid::bigint, 0),
      'persistence', coalesce(r.relpersistence::text, ''), 'partitioned', coalesce(r.relkind = 'p', false),
      'owned', coalesce(pg_has_role(r.relowner, 'USAGE'), false),
      'can_select', coalesce(has_table_privilege(r.oid, 'SELECT'), false),
      'columns', (select jsonb_agg(a.attname order by a.attnum) from pg_attribute a
        where a.attrelid = r.oid and a.attnum > 0 and not a.attisdropped),
      -- A domain goes by the type below it. A generated column is not sent.
      'types', (select jsonb_object_agg(a.attname, case when a.attgenerated <> '' then 'generated'
          else format_type(coalesce(nullif(t.typbasetype, 0), t.oid), null) end)
        from pg_attribute a join pg_type t on t.oid = a.atttypid
        where a.attrelid = r.oid and a.attnum > 0 and not a.attisdropped)
    ) order by r.pos) from rel r),
  -- Without pg_read_all_stats only the pid is shown; with nobody to wait for, every walsender is async.
  'sync_state', (select coalesce(r.sync_state, case when current_setting('synchronous_standby_names') = '' then 'async' else 'unknown' end)
    from pg_stat_replication r where r.pid = $4::int)
)::text
