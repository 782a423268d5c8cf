-- Both sides of the equation of the ledger, by kind, in one snapshot: the events that it holds, what became of them, and
-- the parked rows. A row without a kind when nothing has come in yet. Locks nothing.
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
left join kind k on true
order by k.kind
