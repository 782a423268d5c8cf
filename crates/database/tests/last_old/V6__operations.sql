-- What operators do: suspend and restore accounts, take blogs down and bring them back, export and erase what
-- belongs to a person, give parked events up, mend counters. Each is one function of the owner of the schema, so
-- that the operator's role itself may change no table. To redrive, which is to count, it says `set role
-- engagement_writer` first, and then may do what a worker's counting may do, no more.

set local role blogs_owner;

-- In the order in which every reader of the view locks: the view, then its tables.
lock table blogs.live_blog in access exclusive mode;

alter table blogs.account add column suspended_at timestamptz;
alter table blogs.blog
  -- Taken from sight by an operator; its author cannot undo it.
  add column taken_down_at timestamptz,
  -- Where the blog was before it came here; what an import knows it by.
  add column source_path text check (octet_length(source_path) between 1 and 1024),
  -- An erased author leaves an empty row behind, so that what readers did still adds up.
  alter column author_id drop not null,
  add constraint blog_author check (author_id is not null or deleted_at is not null);
create index blog_author on blogs.blog (author_id);
create unique index blog_source_path on blogs.blog (source_path) where source_path is not null;

-- The planner's samples are copies, too, and those of an emptied table are never made anew. What says who somebody is
-- is not sampled; each of these is found by a unique index or by nothing. Of `blog.author_id` samples are needed:
-- `sample_again` makes them without the erased.
alter table blogs.account
  alter column id set statistics 0, alter column handle set statistics 0, alter column email set statistics 0,
  alter column password_hash set statistics 0;
alter index blogs.account_email alter column 1 set statistics 0;
alter table blogs.blog
  alter column title set statistics 0, alter column body set statistics 0, alter column source_path set statistics 0;
alter table blogs.blog_slug alter column slug set statistics 0;
alter table blogs.tag alter column name set statistics 0;
alter table blogs.outbox alter column body set statistics 0;
alter table blogs.idempotency_key
  alter column account_id set statistics 0, alter column key set statistics 0,
  alter column request_hash set statistics 0, alter column response set statistics 0;

-- The one rule of who may act. Not a security barrier: the planner must be able to look up one account in it.
create view blogs.active_account as
  select a.id from blogs.account a where a.deleted_at is null and a.suspended_at is null;

-- The one rule of what is live, now with what operators decide.
create or replace view blogs.live_blog with (security_barrier = true) as
  select b.id, b.author_id, b.published_at
  from blogs.blog b
  join blogs.active_account a on a.id = b.author_id
  where b.deleted_at is null and b.published_at is not null and b.taken_down_at is null;

-- Takes an account's blogs from sight and its tokens back. False if it is suspended or gone already.
create function blogs.suspend_account(wanted bigint) returns boolean
language sql security definer set search_path = '' as $$
  with changed as (
    update blogs.account set suspended_at = now(), token_epoch = token_epoch + 1
    where id = wanted and suspended_at is null and deleted_at is null
    returning 1)
  select exists (select from changed)
$$;

-- Takes a suspension back. False if there is none. Whoever was signed in signs in again.
create function blogs.restore_account(wanted bigint) returns boolean
language sql security definer set search_path = '' as $$
  with changed as (
    update blogs.account set suspended_at = null
    where id = wanted and suspended_at is not null and deleted_at is null
    returning 1)
  select exists (select from changed)
$$;

-- Takes a blog from sight. False if it has been taken down or is gone already.
create function blogs.take_down_blog(wanted bigint) returns boolean
language sql security definer set search_path = '' as $$
  with changed as (
    update blogs.blog set taken_down_at = now(), version = version + 1
    where id = wanted and taken_down_at is null and deleted_at is null
    returning 1)
  select exists (select from changed)
$$;

-- Brings a blog back that was taken down. False if it was not.
create function blogs.restore_blog(wanted bigint) returns boolean
language sql security definer set search_path = '' as $$
  with changed as (
    update blogs.blog set taken_down_at = null, version = version + 1
    where id = wanted and taken_down_at is not null and deleted_at is null
    returning 1)
  select exists (select from changed)
$$;

-- True if a message or an event of one, as JSON in whatever spacing, names the account. The one rule of what does; a
-- number is looked for before the slower expression is.
create function blogs.names_account(body bytea, wanted bigint) returns boolean
language sql immutable set search_path = '' as $$
  select position(convert_to(wanted::text, 'utf8') in body) > 0
     and encode(body, 'escape') ~ format('"(account|author)_id"\s*:\s*"?%s"?(\D|$)', wanted)
$$;

-- Everything in this schema that belongs to a person, part by part and each item in a row, so that it may be large.
-- Nothing if there is no such account.
create function blogs.export_account(wanted bigint) returns table (part text, item jsonb)
language sql stable security definer set search_path = '' as $$
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
$$;

-- The first step of erasing: the account is deleted, so that nothing new is accepted or counted in its name.
-- False if it is deleted already.
create function blogs.retire_account(wanted bigint) returns boolean
language sql security definer set search_path = '' as $$
  with changed as (
    update blogs.account set deleted_at = now(), token_epoch = token_epoch + 1
    where id = wanted and deleted_at is null
    returning 1)
  select exists (select from changed)
$$;

-- The second step: nothing in this schema says any more who it was. The blogs' rows stay, empty and ownerless, so that
-- counters and series keep what they count. Locks the account, then its blogs in key order, as whoever writes a blog
-- does; then nothing new can come. Refused while the account is not deleted, and while the outbox holds an envelope that
-- names it: the relay sends it within moments, if it is of a release that knows the routing key.
create function blogs.erase_account(wanted bigint) returns void
language plpgsql security definer set search_path = '' as $$
declare
  owned bigint[];
  waiting text;
begin
  perform from blogs.account where id = wanted for update;
  if exists (select from blogs.account a where a.id = wanted and a.deleted_at is null) then
    raise exception 'account % is not deleted', wanted using errcode = '55000';
  end if;
  perform from blogs.blog where author_id = wanted order by id for update;
  select string_agg(distinct o.routing_key, ', ') into waiting
  from blogs.outbox o where blogs.names_account(o.body, wanted);
  if waiting is not null then
    raise exception 'the outbox still holds an envelope of account % (%)', wanted, waiting using errcode = '55006';
  end if;
  select coalesce(array_agg(id order by id), '{}') into owned from blogs.blog where author_id = wanted;
  update blogs.blog
  set author_id = null, title = 'erased', body = '', source_path = null, deleted_at = coalesce(deleted_at, now()),
      version = version + 1
  where id = any (owned);
  delete from blogs.blog_tag where blog_id = any (owned);
  delete from blogs.blog_slug where blog_id = any (owned);
  delete from blogs.idempotency_key where account_id = wanted;
  delete from blogs.account where id = wanted;
end $$;

-- Forgets tags that no blog has, such as those that only an erased author used. In a transaction of its own. Locks the
-- table against whoever puts tags on a blog: those who found a tag there have put it on when this looks, and those who
-- come later look again and make it anew. Readers are not held up.
create function blogs.forget_unused_tags() returns bigint
language plpgsql security definer set search_path = '' as $$
declare
  forgotten bigint;
begin
  lock table blogs.tag in share row exclusive mode;
  delete from blogs.tag t where not exists (select from blogs.blog_tag bt where bt.tag_id = t.id);
  get diagnostics forgotten = row_count;
  return forgotten;
end $$;

-- Samples anew where the planner's samples may name who was erased. In a transaction of its own, after that of erasing.
create function blogs.sample_again() returns void
language plpgsql security definer set search_path = '' as $$
begin
  analyze blogs.blog (author_id);
end $$;

grant select on blogs.active_account to blogs_api, engagement_writer, operator;
-- `select on blogs.account` was given column by column to the operator.
grant select (suspended_at) on blogs.account to operator;
grant execute on function blogs.suspend_account(bigint), blogs.restore_account(bigint), blogs.take_down_blog(bigint),
  blogs.restore_blog(bigint), blogs.export_account(bigint), blogs.retire_account(bigint), blogs.erase_account(bigint),
  blogs.forget_unused_tags(), blogs.sample_again() to operator;
grant execute on function blogs.names_account(bytea, bigint) to analytics_owner;
-- For mending counters: Analytics knows what they should say.
grant select, update (total_views, total_likes, total_shares) on blogs.blog_counter to analytics_owner;

reset role;

set local role analytics_owner;

alter table analytics.parked
  -- Given up by an operator, or erased with the account that it names. What remains says only that it was there.
  add column dropped_at timestamptz;
drop index analytics.parked_waiting;
create index parked_waiting on analytics.parked (first_seen_at) where redriven_at is null and dropped_at is null;

-- As for `blogs.account`. Of `blog_like.account_id` samples are needed.
alter table analytics.parked
  alter column kind set statistics 0, alter column reason set statistics 0, alter column body set statistics 0,
  alter column traceparent set statistics 0;

-- True if a parked event names the account: in its body, or where that is gone in its reason, which may quote it.
create function analytics.names_account(p analytics.parked, wanted bigint) returns boolean
language sql stable set search_path = '' as $$
  select blogs.names_account(p.body, wanted) or (p.body = '' and p.reason ~ format('(^|\D)%s(\D|$)', wanted))
$$;

-- What an account has left behind in this schema: its likes, and what is parked and names it. Of a whole message it is
-- only said that it is there; the events of others are in it, too.
create function analytics.export_account(wanted bigint) returns table (part text, item jsonb)
language sql stable security definer set search_path = '' as $$
  (select 'likes', jsonb_build_object(
     'blog_id', l.blog_id, 'liked', l.liked, 'at', to_timestamp(l.version_us / 1000000.0))
   from analytics.blog_like l
   where l.account_id = wanted
   order by l.blog_id)
  union all
  (select 'parked', jsonb_build_object(
     'envelope_id', p.envelope_id, 'index', p.index, 'first_seen_at', p.first_seen_at,
     'redriven_at', p.redriven_at, 'dropped_at', p.dropped_at,
     'body', case when p.index >= 0 then encode(p.body, 'escape') end)
   from analytics.parked p
   where analytics.names_account(p, wanted)
   order by p.envelope_id, p.index)
$$;

-- Nothing in this schema says any more who it was. A like stays under a random number of its own, which no account
-- has, so that totals stay what they are; a parked event loses its body, and its reason, which may quote it. Refused
-- while a whole message is parked that names the account: it holds the events of others, too. Locks the likes, then the
-- parked events, each in key order.
create function analytics.erase_account(wanted bigint) returns void
language plpgsql security definer set search_path = '' as $$
begin
  perform from analytics.blog_like where account_id = wanted order by blog_id for update;
  update analytics.blog_like
  set account_id = -1 - ('x' || substr(md5(gen_random_uuid()::text), 1, 15))::bit(60)::bigint
  where account_id = wanted;
  perform from analytics.parked p
  where analytics.names_account(p, wanted)
  order by p.envelope_id, p.index
  for no key update;
  if exists (
    select from analytics.parked p
    where p.index < 0 and p.redriven_at is null and p.dropped_at is null and analytics.names_account(p, wanted))
  then
    raise exception 'a parked message names account %', wanted using errcode = '55006',
      hint = 'redrive or drop it first';
  end if;
  update analytics.parked p
  set body = '', reason = 'erased', dropped_at = case when p.redriven_at is null then coalesce(p.dropped_at, now()) end
  where analytics.names_account(p, wanted);
end $$;

-- As in the schema `blogs`.
create function analytics.sample_again() returns void
language plpgsql security definer set search_path = '' as $$
begin
  analyze analytics.blog_like (account_id);
end $$;

-- Gives a parked event up. It stays accounted for as parked; its body is gone. False if it was not waiting.
create function analytics.drop_parked(envelope uuid, place integer) returns boolean
language sql security definer set search_path = '' as $$
  with changed as (
    update analytics.parked set dropped_at = now(), body = ''
    where envelope_id = envelope and index = place and redriven_at is null and dropped_at is null
    returning 1)
  select exists (select from changed)
$$;

-- Where counters and what they count disagree, for at most so many blogs after this one. One statement, one snapshot:
-- a batch shows in both or in neither, so whatever differs here has drifted. looked_at says at how many blogs it
-- looked, last_id how far that was.
create function analytics.counter_drift(after_id bigint, most integer)
returns table (blog_id bigint, kind text, counter bigint, counted bigint, looked_at bigint, last_id bigint)
language sql stable security definer set search_path = '' as $$
  with page as (
    select c.* from blogs.blog_counter c where c.blog_id > after_id order by c.blog_id limit most),
  summed as (
    select p.blog_id, p.total_views, p.total_likes, p.total_shares,
           coalesce((select sum(h.views) from analytics.blog_hour h where h.blog_id = p.blog_id), 0)::bigint as views,
           (select count(*) from analytics.blog_like l where l.blog_id = p.blog_id and l.liked) as likes,
           coalesce((select sum(s.shares) from analytics.blog_share s where s.blog_id = p.blog_id), 0)::bigint as shares
    from page p),
  compared as (
    select s.blog_id, k.kind, k.counter, k.counted
    from summed s
    cross join lateral (values ('views', s.total_views, s.views), ('likes', s.total_likes, s.likes),
                               ('shares', s.total_shares, s.shares)) as k (kind, counter, counted)
    where k.counter <> k.counted),
  looked as (select count(*) as looked_at, max(p.blog_id) as last_id from page p)
  -- A row without a blog when nothing differs, so that the caller learns how far it got.
  select c.blog_id, c.kind, c.counter, c.counted, looked.looked_at, looked.last_id
  from looked left join compared c on true
  where looked.last_id is not null
  order by c.blog_id, c.kind
$$;

-- Sets the counters of a blog to what they count. The row is locked first and the sums are read in a later statement:
-- a batch that had written its hours but not its counter waits for the lock and is not yet seen; one that had written
-- both is. To lock and sum in one statement would erase it. True if anything was mended.
create function analytics.mend_counter(wanted bigint) returns boolean
language plpgsql volatile security definer set search_path = '' as $$
declare
  now_views bigint;
  now_likes bigint;
  now_shares bigint;
begin
  perform from blogs.blog_counter c where c.blog_id = wanted for no key update;
  select coalesce(sum(h.views), 0) into now_views from analytics.blog_hour h where h.blog_id = wanted;
  select count(*) into now_likes from analytics.blog_like l where l.blog_id = wanted and l.liked;
  select coalesce(sum(s.shares), 0) into now_shares from analytics.blog_share s where s.blog_id = wanted;
  update blogs.blog_counter c
  set total_views = now_views, total_likes = now_likes, total_shares = now_shares
  where c.blog_id = wanted and (c.total_views, c.total_likes, c.total_shares) <> (now_views, now_likes, now_shares);
  return found;
end $$;

-- As before, but a parked event that was given up holds no day back.
create or replace function analytics.drop_day(parent text, wanted date) returns boolean
language plpgsql security definer set search_path = '' set lock_timeout = '200ms' as $$
declare
  child text := parent || '_' || to_char(wanted, 'YYYYMMDD');
  keep interval := case parent when 'blog_view' then interval '1 day' else interval '0' end;
  below uuid := (lpad(to_hex((extract(epoch from (wanted + 1)::timestamp at time zone 'utc') * 1000)::bigint), 12, '0')
                 || repeat('0', 20))::uuid;
  n_dropped bigint := 0;
begin
  if parent not in ('envelope_ledger', 'blog_view') then
    raise exception 'not a table of days: %', parent using errcode = '22023';
  end if;
  if not pg_try_advisory_xact_lock(hashtextextended('analytics.days.' || parent, 0)) then
    return false;
  end if;
  if not exists (select from analytics.ledger_floor f
                 where wanted + keep < f.settled_day
                    or wanted + keep < f.candidate_day and f.candidate_at <= now() - interval '1 day')
     or exists (select from blogs.outbox o where o.id < below)
     or exists (select from analytics.parked p
                where p.envelope_id < below and p.redriven_at is null and p.dropped_at is null and p.in_ledger)
  then
    return false;
  end if;
  if to_regclass('analytics.' || child) is null then
    return true;
  end if;
  if parent = 'envelope_ledger' then
    execute format('select coalesce(sum(n), 0) from analytics.%I', child) into n_dropped;
    update analytics.ledger_floor set dropped_n = dropped_n + n_dropped;
  end if;
  execute format('drop table analytics.%I', child);
  return true;
end $$;

grant execute on function analytics.export_account(bigint), analytics.erase_account(bigint), analytics.sample_again(),
  analytics.drop_parked(uuid, integer), analytics.mend_counter(bigint) to operator;
grant execute on function analytics.counter_drift(bigint, integer) to operator, analytics_worker;
-- A parked event is redriven under engagement_writer, and marked there; so is what the ledger has taken in of a late
-- envelope, and why an event was refused again.
grant update (redriven_at, in_ledger, reason, sqlstate) on analytics.parked to engagement_writer;

reset role;
