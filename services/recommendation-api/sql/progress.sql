-- Returns the generation that readers are shown, the time up to which it is complete, and the time of the lists of
-- popular blogs; a time is null before the first computation. Locks nothing.
select p.generation, nullif(p.as_of, '-infinity') as learnt_as_of,
       (select r.as_of from analytics.popularity_run r) as popular_as_of, now() as now
from recommend.progress p
