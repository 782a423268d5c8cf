-- Returns both sides of the ledger's accounting, by kind, in one snapshot. Locks nothing.
select e.ledger, e.dropped_days,
       e.kind, e.counted, e.repeat, e.discarded, e.parked, e.waiting + e.given_up as parked_rows
from analytics.equation e
order by e.kind
