-- Whether every event is accounted for, and what operators do where it is not. And what Analytics holds about a person. Owner:
-- Analytics.

set local role analytics_owner;

create view analytics.equation as
with ledger as (
  select coalesce(sum(l.n), 0)::bigint as n from analytics.envelope_ledger l),
outcome as (
  select o.kind,
         coalesce(sum(o.n) filter (where o.outcome = 'counted'), 0)::bigint as counted,
         coalesce(sum(o.n) filter (where o.outcome = 'repeat'), 0)::bigint as repeat,
         coalesce(sum(o.n) filter (where o.outcome = 'discarded'), 0)::bigint as discarded,
         coalesce(sum(o.n) filter (where o.outcome = 'parked'), 0)::bigint as parked
  from analytics.outcome o
  group by o.kind),
parked as (
  select coalesce(p.kind, 'unreadable') as kind,
         count(*) filter (where p.dropped_at is null) as waiting,
         count(*) filter (where p.dropped_at is not null) as given_up
  from analytics.parked p
  where p.in_ledger and p.redriven_at is null
  group by 1),
unknown as (
  select count(*) as n
  from analytics.parked p
  where not p.in_ledger and analytics.is_waiting(p.redriven_at, p.dropped_at)),
kind as (
  select coalesce(o.kind, p.kind) as kind,
         coalesce(o.counted, 0) as counted, coalesce(o.repeat, 0) as repeat,
         coalesce(o.discarded, 0) as discarded, coalesce(o.parked, 0) as parked,
         coalesce(p.waiting, 0) as waiting, coalesce(p.given_up, 0) as given_up
  from outcome o full join parked p on p.kind = o.kind)
select ledger.n as ledger, f.dropped_n as dropped_days, unknown.n as outside_the_ledger,
       k.kind, k.counted, k.repeat, k.discarded, k.parked, k.waiting, k.given_up
from ledger
cross join analytics.ledger_floor f
cross join unknown
left join kind k on true;
comment on view analytics.equation is
  'Both sides of the conservation of events, by kind, in one snapshot: ledger + dropped_days = counted + repeat + discarded + parked, summed over kinds; and the parked rows. One row without a kind when nothing has come in.';
comment on column analytics.equation.ledger is 'Events in the ledger''s days; the same in every row.';
comment on column analytics.equation.dropped_days is 'Events of dropped days; the same in every row.';
comment on column analytics.equation.outside_the_ledger is 'Parked events that wait and that the ledger does not contain; the same in every row.';
comment on column analytics.equation.kind is 'The kind of event.';
comment on column analytics.equation.counted is 'Events that changed counters.';
comment on column analytics.equation.repeat is 'Events that had been counted before.';
comment on column analytics.equation.discarded is 'Events of blogs or accounts that no longer count.';
comment on column analytics.equation.parked is 'Events that were accounted for as parked.';
comment on column analytics.equation.waiting is 'Parked rows that wait for a decision.';
comment on column analytics.equation.given_up is 'Parked rows that were dropped.';

-- Where counters differ from what they count, for at most `most` blogs after this one. One statement, one snapshot: a batch
-- shows in both or in neither, so a difference is drift. looked_at says at how many blogs it looked, last_id how far that was.
create function analytics.counter_drift(after_id bigint, most integer)
returns table (blog_id bigint, kind text, counter bigint, counted bigint, looked_at bigint, last_id bigint)
language sql stable security definer set search_path = pg_catalog, pg_temp as $$
  with page as (
    select c.* from blogs.blog_counter c where c.blog_id > after_id order by c.blog_id
    limit least(coalesce(most, 0), 100000)),
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

-- Sets the counters of a blog to what they count. True if anything changed. The row is locked first and the sums are read in
-- a later statement: a batch that had written its hours but not its counter waits for the lock and is not yet seen; one that
-- had written both is. Locking and summing in one statement would erase it.
create function analytics.mend_counter(wanted bigint) returns boolean
language plpgsql volatile security definer set search_path = pg_catalog, pg_temp as $$
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

-- Gives a parked event up. It stays accounted for as parked; its body is gone. False if it was not waiting.
create function analytics.drop_parked(envelope uuid, place integer) returns boolean
language sql security definer set search_path = pg_catalog, pg_temp as $$
  with changed as (
    update analytics.parked set dropped_at = now(), body = ''
    where envelope_id = envelope and index = place and redriven_at is null and dropped_at is null
    returning 1)
  select exists (select from changed)
$$;

-- How many sessions of each role execute something in this database, without the caller's own. It tells counts and no
-- statement. Counts other roles' sessions where the owner is a member of pg_read_all_stats.
create function analytics.busy_sessions() returns table (role text, sessions bigint)
language sql stable security definer set search_path = pg_catalog, pg_temp as $$
  select a.usename::text, count(*)
  from pg_catalog.pg_stat_activity a
  where a.datname = current_database() and a.state = 'active' and a.usename is not null and a.pid <> pg_backend_pid()
  group by a.usename
$$;

-- True if a parked event names the account: in its body, or where that is gone in its reason, which may quote it.
create function analytics.names_account(p analytics.parked, wanted bigint) returns boolean
language sql stable set search_path = pg_catalog, pg_temp as $$
  select blogs.names_account(p.body, wanted) or (p.body = '' and p.reason ~ format('(^|\D)%s(\D|$)', wanted))
$$;

-- The parts of an export. A whole message is only mentioned: it contains the events of others, too.
create function analytics.account_parts(wanted bigint) returns table (part text, item jsonb)
language sql stable as $$
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

-- What an account has left behind in this schema.
create function analytics.export_account(wanted bigint) returns table (part text, item jsonb)
language plpgsql stable security definer set search_path = pg_catalog, pg_temp as $$
begin
  perform blogs.require_export(wanted);
  return query select p.part, p.item from analytics.account_parts(wanted) p;
end $$;

-- Removes every trace of an account from this schema. A like stays under a random number that no account has, so that totals
-- stay what they are; a parked event loses its body and its reason, which may quote it. Refused while a whole message that
-- names the account is parked: it contains the events of others, too. Locks the likes, then the parked events, each in key
-- order.
create function analytics.erase_account(wanted bigint) returns void
language plpgsql security definer set search_path = pg_catalog, pg_temp as $$
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

-- Takes samples again that may contain an erased account.
create function analytics.sample_again() returns void
language plpgsql security definer set search_path = pg_catalog, pg_temp as $$
begin
  analyze analytics.blog_like (account_id);
end $$;

reset role;
