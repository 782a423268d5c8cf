-- Both sides of the equation of the ledger, by kind, in one snapshot. A row without a kind when nothing has come in yet.
-- Locks nothing.
with ledger as (
  select coalesce(sum(l.n), 0)::bigint as n from analytics.envelope_ledger l)
select ledger.n as ledger, f.dropped_n as dropped_days, o.kind,
       coalesce(sum(o.n) filter (where o.outcome = 'counted'), 0)::bigint as counted,
       coalesce(sum(o.n) filter (where o.outcome = 'repeat'), 0)::bigint as repeat,
       coalesce(sum(o.n) filter (where o.outcome = 'discarded'), 0)::bigint as discarded,
       coalesce(sum(o.n) filter (where o.outcome = 'parked'), 0)::bigint as parked
from ledger
cross join analytics.ledger_floor f
left join analytics.outcome o on true
group by ledger.n, f.dropped_n, o.kind
order by o.kind
