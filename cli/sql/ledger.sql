-- Both sides of the ledger's equation by kind, in one snapshot, and the parked events outside it. Locks nothing.
select e.ledger, e.dropped_days, e.outside_the_ledger,
       e.kind, e.counted, e.repeat, e.discarded, e.parked, e.waiting, e.given_up
from analytics.equation e
order by e.kind
