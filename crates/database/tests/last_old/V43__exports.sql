-- Exports of accounts: only at the account's own request, once a request, and recorded for good. Locks no rows that a service
-- waits for.

set local role blogs_owner;

-- An account's latest request for an export. Erasing the account deletes it.
create table blogs.export_request (
  account_id bigint primary key references blogs.account on delete cascade,
  id uuid not null default gen_random_uuid(),
  requested_at timestamptz not null default now()
);
-- The planner's samples would keep ids of accounts.
alter table blogs.export_request alter column account_id set statistics 0;

-- Which export was made for which request. Rows are inserted by blogs.open_export alone; no role is granted UPDATE or DELETE.
-- Ids of erased accounts stay here. The primary key makes a request good for one export.
create table blogs.export_record (
  request_id uuid primary key,
  account_id bigint not null,
  requested_at timestamptz not null,
  exported_at timestamptz not null,
  -- The login role, and where it connected from: null for a socket of the same machine.
  exported_by text not null,
  client text,
  -- The session and the transaction that opened the export: blogs.require_export compares them.
  session integer not null,
  transaction xid8 not null
);
create index export_record_account on blogs.export_record (account_id);
alter table blogs.export_record alter column account_id set statistics 0;

-- The one rule of which requests can be used: for 7 days, once.
create function blogs.is_open_export(request uuid, asked_at timestamptz) returns boolean
language sql stable security definer set search_path = pg_catalog, pg_temp as $$
  select asked_at > now() - interval '7 days' and not exists (select from blogs.export_record e where e.request_id = request)
$$;

create view blogs.open_export_request as
  select r.account_id, r.id, r.requested_at, r.requested_at + interval '7 days' as expires_at
  from blogs.export_request r
  where blogs.is_open_export(r.id, r.requested_at);

-- Uses an account's open request and records who does, before anything can be read. Its transaction has to commit before the
-- functions below return anything: an export that is rolled back would leave no record. Returns the request.
create function blogs.open_export(wanted bigint) returns uuid
language plpgsql volatile security definer set search_path = pg_catalog, pg_temp as $$
declare
  opened uuid;
begin
  insert into blogs.export_record
    (request_id, account_id, requested_at, exported_at, exported_by, client, session, transaction)
  select o.id, o.account_id, o.requested_at, clock_timestamp(), session_user, host(inet_client_addr()),
         pg_backend_pid(), pg_current_xact_id()
  from blogs.open_export_request o
  where o.account_id = wanted
  on conflict (request_id) do nothing
  returning request_id into opened;
  if opened is null then
    raise exception 'account % has no open request for an export', wanted using errcode = '42501',
      hint = 'The account asks with PUT /v1/accounts/me/export-request. A request is good for 7 days and one export.';
  end if;
  return opened;
end $$;

-- Refuses unless this session has opened an export of the account in an earlier transaction, at most 10 minutes ago.
create function blogs.require_export(wanted bigint) returns void
language plpgsql stable security definer set search_path = pg_catalog, pg_temp as $$
begin
  if not exists (
    select from blogs.export_record e
    where e.account_id = wanted and e.exported_by = session_user and e.session = pg_backend_pid()
      and e.transaction is distinct from pg_current_xact_id_if_assigned()
      and e.exported_at > clock_timestamp() - interval '10 minutes')
  then
    raise exception 'this session has opened no export of account %', wanted using errcode = '42501',
      hint = 'Call blogs.open_export first, and commit.';
  end if;
end $$;

-- What was the export is now a part of it that only the owner calls. Without settings of its own it is inlined into its
-- caller, which has them, so that a large account is not kept twice.
alter function blogs.export_account(bigint) rename to account_parts;
alter function blogs.account_parts(bigint) security invoker;
alter function blogs.account_parts(bigint) reset all;
revoke execute on function blogs.account_parts(bigint) from operator;

-- Everything in this schema that belongs to a person, part by part and each item in a row. Nothing if there is no such account.
create function blogs.export_account(wanted bigint) returns table (part text, item jsonb)
language plpgsql stable security definer set search_path = pg_catalog, pg_temp as $$
begin
  perform blogs.require_export(wanted);
  return query select p.part, p.item from blogs.account_parts(wanted) p;
end $$;

revoke execute on function blogs.is_open_export(uuid, timestamptz), blogs.open_export(bigint), blogs.require_export(bigint), blogs.export_account(bigint),
  blogs.account_parts(bigint) from public;
grant execute on function blogs.open_export(bigint), blogs.export_account(bigint) to operator;
grant execute on function blogs.require_export(bigint) to analytics_owner, notify_owner;
grant select on blogs.export_request, blogs.open_export_request, blogs.export_record to operator;
grant select, insert (account_id), update (id, requested_at) on blogs.export_request to blogs_api;
grant execute on function blogs.is_open_export(uuid, timestamptz) to blogs_api, operator;

reset role;

set local role analytics_owner;

alter function analytics.export_account(bigint) rename to account_parts;
alter function analytics.account_parts(bigint) security invoker;
alter function analytics.account_parts(bigint) reset all;
revoke execute on function analytics.account_parts(bigint) from operator;

-- What an account has left behind in this schema.
create function analytics.export_account(wanted bigint) returns table (part text, item jsonb)
language plpgsql stable security definer set search_path = pg_catalog, pg_temp as $$
begin
  perform blogs.require_export(wanted);
  return query select p.part, p.item from analytics.account_parts(wanted) p;
end $$;

revoke execute on function analytics.export_account(bigint), analytics.account_parts(bigint) from public;
grant execute on function analytics.export_account(bigint) to operator;

reset role;

set local role notify_owner;

alter function notify.export_account(bigint) rename to account_parts;
alter function notify.account_parts(bigint) security invoker;
alter function notify.account_parts(bigint) reset all;
revoke execute on function notify.account_parts(bigint) from operator;

-- What an account was told.
create function notify.export_account(wanted bigint) returns table (part text, item jsonb)
language plpgsql stable security definer set search_path = pg_catalog, pg_temp as $$
begin
  perform blogs.require_export(wanted);
  return query select p.part, p.item from notify.account_parts(wanted) p;
end $$;

revoke execute on function notify.export_account(bigint), notify.account_parts(bigint) from public;
grant execute on function notify.export_account(bigint) to operator;

reset role;
