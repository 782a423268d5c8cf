-- Conservation: both sides of the equation of the ledger in one place, for everybody who asks whether it holds; and days that
-- are dropped with all of their events. Owner: Analytics. Locks nothing that anybody waits for.
set local role analytics_owner;

-- Both sides, by kind, in one snapshot: the events that the ledger holds and those of days that were dropped from it, what
-- became of them, and the parked rows, which must be as many as were accounted for as parked. A row without a kind when
-- nothing has come in yet.
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

grant select on analytics.equation to operator, console;

-- As before, and: a view may travel in an envelope of the next day, so a day of views waits for envelopes of both days;
-- and nothing comes into a day of the ledger between its sum and its end. Locks the day, first against writes.
create or replace function analytics.drop_day(parent text, wanted date) returns boolean
language plpgsql security definer set search_path = '' set lock_timeout = '200ms' as $$
declare
  child text := parent || '_' || to_char(wanted, 'YYYYMMDD');
  keep integer := case parent when 'blog_view' then 1 else 0 end;
  below uuid := (lpad(to_hex((extract(epoch from (wanted + keep + 1)::timestamp at time zone 'utc') * 1000)::bigint), 12, '0')
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
    -- Readers go on while the day is summed. Whoever is inserting into it has committed then, or the timeout ends this.
    execute format('lock table analytics.%I in share mode', child);
    execute format('select coalesce(sum(n), 0) from analytics.%I', child) into n_dropped;
    update analytics.ledger_floor set dropped_n = dropped_n + n_dropped;
  end if;
  execute format('drop table analytics.%I', child);
  return true;
end $$;

reset role;
