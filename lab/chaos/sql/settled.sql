-- The number of events that are accounted for, with any result. Locks nothing.
select coalesce(sum(n), 0)::bigint as n from analytics.outcome
