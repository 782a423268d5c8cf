-- Events that are accounted for in whatever way. Locks nothing.
select coalesce(sum(n), 0)::bigint as n from analytics.outcome
