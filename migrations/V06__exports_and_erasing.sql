-- What Blogs holds about a person: exporting it and erasing it. The other owners have functions of the same names. Owner: Blogs.

set local role blogs_owner;

create table blogs.export_request (
  account_id bigint primary key references blogs.account on delete cascade,
  id uuid not null default gen_random_uuid(),
  requested_at timestamptz not null default now()
);
alter table blogs.export_request alter column account_id set statistics 0;

comment on table blogs.export_request is 'An account''s latest request for an export. Erasing the account deletes it.';
comment on column blogs.export_request.account_id is 'The account that asked.';
comment on column blogs.export_request.id is 'The request. Asking again makes a new one.';
comment on column blogs.export_request.requested_at is 'A request is good for 7 days and one export.';

-- The primary key makes a request good for one export. `blogs.open_export` alone inserts; no role may UPDATE or DELETE.
create table blogs.export_record (
  request_id uuid primary key,
  account_id bigint not null,
  requested_at timestamptz not null,
  exported_at timestamptz not null,
  exported_by text not null,
  client text,
  session integer not null,
  transaction xid8 not null
);
create index export_record_account on blogs.export_record (account_id);
alter table blogs.export_record alter column account_id set statistics 0;

comment on table blogs.export_record is 'Every export, for good. Ids of erased accounts stay here.';
comment on column blogs.export_record.request_id is 'The request that it used.';
comment on column blogs.export_record.account_id is 'The account that was exported.';
comment on column blogs.export_record.requested_at is 'When the account asked.';
comment on column blogs.export_record.exported_at is 'When the export was opened.';
comment on column blogs.export_record.exported_by is 'The login role.';
comment on column blogs.export_record.client is 'The address that it connected from; null for a socket of the same machine.';
comment on column blogs.export_record.session is 'The process id of the session; require_export compares it.';
comment on column blogs.export_record.transaction is 'The transaction that opened the export; require_export compares it.';

-- The one rule of which requests can be used: for 7 days, once.
create function blogs.is_open_export(request uuid, asked_at timestamptz) returns boolean
language sql stable security definer set search_path = pg_catalog, pg_temp as $$
  select asked_at > now() - interval '7 days' and not exists (select from blogs.export_record e where e.request_id = request)
$$;

create view blogs.open_export_request as
  select r.account_id, r.id, r.requested_at, r.requested_at + interval '7 days' as expires_at
  from blogs.export_request r
  where blogs.is_open_export(r.id, r.requested_at);
comment on view blogs.open_export_request is 'Requests that can still be used.';
comment on column blogs.open_export_request.account_id is 'The account that asked.';
comment on column blogs.open_export_request.id is 'The request.';
comment on column blogs.open_export_request.requested_at is 'When the account asked.';
comment on column blogs.open_export_request.expires_at is 'Until when it can be used.';

-- Uses an account's open request and records it, before anything can be read: its transaction has to commit before the
-- functions below return anything, or a rollback would leave no record. Returns the request.
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
grant execute on function blogs.require_export(bigint) to analytics_owner, notify_owner;

-- The parts of an export, each item a row. Without settings of its own it is inlined into its caller, so that a large account
-- is not held in memory twice.
create function blogs.account_parts(wanted bigint) returns table (part text, item jsonb)
language sql stable as $$
  (select 'account', jsonb_build_object(
     'id', a.id, 'handle', a.handle, 'email', a.email, 'created_at', a.created_at,
     'suspended_at', a.suspended_at, 'deleted_at', a.deleted_at)
   from blogs.account a
   where a.id = wanted)
  union all
  (select 'blogs', jsonb_build_object(
     'id', b.id, 'title', b.title, 'body', b.body, 'source_path', b.source_path,
     'created_at', b.created_at, 'updated_at', b.updated_at, 'published_at', b.published_at,
     'taken_down_at', b.taken_down_at, 'deleted_at', b.deleted_at,
     'slugs', (select coalesce(jsonb_agg(s.slug order by s.is_current desc, s.slug), '[]')
               from blogs.blog_slug s where s.blog_id = b.id),
     'tags', (select coalesce(jsonb_agg(t.name order by t.name), '[]')
              from blogs.blog_tag bt join blogs.tag t on t.id = bt.tag_id where bt.blog_id = b.id),
     'total_views', c.total_views, 'total_likes', c.total_likes, 'total_shares', c.total_shares)
   from blogs.blog b join blogs.blog_counter c on c.blog_id = b.id
   where b.author_id = wanted
   order by b.id)
  union all
  (select 'answers', jsonb_build_object('key', k.key, 'response', k.response)
   from blogs.idempotency_key k
   where k.account_id = wanted
   order by k.created_at, k.key)
  union all
  (select 'following', jsonb_build_object('id', f.followee_id, 'since', f.followed_at)
   from social.follow f
   where f.follower_id = wanted
   order by f.followee_id)
$$;

-- Everything in the schemas blogs and social that belongs to a person. Nothing if there is no such account.
create function blogs.export_account(wanted bigint) returns table (part text, item jsonb)
language plpgsql stable security definer set search_path = pg_catalog, pg_temp as $$
begin
  perform blogs.require_export(wanted);
  return query select p.part, p.item from blogs.account_parts(wanted) p;
end $$;

-- True if a message, or one event, names the account: JSON with any spacing. The number is looked for first; the regular
-- expression is slower.
create function blogs.names_account(body bytea, wanted bigint) returns boolean
language sql immutable set search_path = pg_catalog, pg_temp as $$
  select position(convert_to(wanted::text, 'utf8') in body) > 0
     and encode(body, 'escape') ~ format('"(account|author)_id"\s*:\s*"?%s"?(\D|$)', wanted)
$$;
grant execute on function blogs.names_account(bytea, bigint) to analytics_owner;

-- The second step of erasing: removes every trace of the account from the schemas blogs and social. Its blogs stay as empty
-- rows without an author. Refused while the account is not deleted, and while the outbox holds an envelope that names it.
-- The outbox is searched after the follows are locked: ending a follow holds its row until its event is committed. Locks
-- the account, its blogs, the follows, then the kept answers, in key order each.
create function blogs.erase_account(wanted bigint) returns void
language plpgsql security definer set search_path = pg_catalog, pg_temp as $$
declare
  owned bigint[];
  waiting text;
begin
  perform from blogs.account where id = wanted for update;
  if exists (select from blogs.account a where a.id = wanted and a.deleted_at is null) then
    raise exception 'account % is not deleted', wanted using errcode = '55000';
  end if;
  perform from blogs.blog where author_id = wanted order by id for update;
  perform from social.follow f
  where f.followee_id = wanted or f.follower_id = wanted
  order by f.followee_id, f.follower_id
  for update;
  select string_agg(distinct o.routing_key, ', ') into waiting
  from blogs.outbox o
  where blogs.names_account(o.body, wanted)
     or (o.routing_key in ('account.followed', 'account.unfollowed')
         and encode(o.body, 'escape') ~ format('"subject"\s*:\s*"%s"', wanted));
  if waiting is not null then
    raise exception 'the outbox still holds an envelope of account % (%)', wanted, waiting using errcode = '55006';
  end if;
  delete from social.follow where followee_id = wanted or follower_id = wanted;
  delete from social.follow_counter where account_id = wanted;
  select coalesce(array_agg(id order by id), '{}') into owned from blogs.blog where author_id = wanted;
  update blogs.blog
  set author_id = null, title = 'erased', body = '', source_path = null, deleted_at = coalesce(deleted_at, now()),
      version = version + 1
  where id = any (owned);
  delete from blogs.blog_tag where blog_id = any (owned);
  delete from blogs.blog_slug where blog_id = any (owned);
  perform from blogs.idempotency_key k where k.account_id = wanted order by k.key for update;
  delete from blogs.idempotency_key where account_id = wanted;
  delete from blogs.account where id = wanted;
end $$;

-- Takes samples again that may contain an erased account; in a transaction of its own, after that of erasing.
create function blogs.sample_again() returns void
language plpgsql security definer set search_path = pg_catalog, pg_temp as $$
begin
  analyze blogs.blog (author_id), social.follow (followee_id, follower_id);
end $$;

reset role;
