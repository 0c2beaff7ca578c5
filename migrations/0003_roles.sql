-- Two group roles, so that nobody needs to own the table:
--
--   cdc_relay_writer  services: insert events, nothing else
--   cdc_relay_reader  the relay and people who look: select
--
--   grant cdc_relay_writer to essay_service;
--   grant cdc_relay_reader to relay;
--
-- The right to replicate is an attribute and not inherited from a group; give
-- it to the relay's login itself: alter role relay replication;
--
-- Roles belong to the whole cluster: each database finds or creates them, and
-- grants what is its own. Without the right to create roles (CREATEROLE) this
-- step does nothing and says what to run.

-- +goose Up
-- +goose StatementBegin
do $$
declare
  r text;
begin
  foreach r in array array['cdc_relay_writer', 'cdc_relay_reader'] loop
    if not exists (select from pg_catalog.pg_roles where rolname = r) then
      begin
        execute format('create role %I nologin', r);
      exception
        when duplicate_object or unique_violation then
          null; -- another database's migration was first
        when insufficient_privilege then
          raise notice 'role % does not exist and % may not create it; let an administrator run: create role % nologin; and the grants of migrations/0003_roles.sql and those after it', r, current_user, r;
      end;
    end if;
  end loop;

  -- Nobody but its owner and those granted below calls the function.
  revoke all on function cdc_relay.publish_to_outbox(text, text, text, json, text, text, json) from public;

  if exists (select from pg_catalog.pg_roles where rolname = 'cdc_relay_writer') then
    grant usage on schema cdc_relay to cdc_relay_writer;
    grant insert on cdc_relay.outbox to cdc_relay_writer;
    grant execute on function cdc_relay.publish_to_outbox(text, text, text, json, text, text, json) to cdc_relay_writer;
  end if;
  if exists (select from pg_catalog.pg_roles where rolname = 'cdc_relay_reader') then
    grant usage on schema cdc_relay to cdc_relay_reader;
    grant select on cdc_relay.outbox to cdc_relay_reader;
  end if;
end
$$;
-- +goose StatementEnd

-- +goose Down
-- The roles stay: other databases may use them, and they may have members. An
-- administrator ends them with: drop role cdc_relay_writer, cdc_relay_reader;
-- +goose StatementBegin
do $$
begin
  if exists (select from pg_catalog.pg_roles where rolname = 'cdc_relay_writer') then
    revoke all on function cdc_relay.publish_to_outbox(text, text, text, json, text, text, json) from cdc_relay_writer;
    revoke all on cdc_relay.outbox from cdc_relay_writer;
    revoke all on schema cdc_relay from cdc_relay_writer;
  end if;
  if exists (select from pg_catalog.pg_roles where rolname = 'cdc_relay_reader') then
    revoke all on cdc_relay.outbox from cdc_relay_reader;
    revoke all on schema cdc_relay from cdc_relay_reader;
  end if;
  grant execute on function cdc_relay.publish_to_outbox(text, text, text, json, text, text, json) to public;
end
$$;
-- +goose StatementEnd
