-- What readers are shown and how old it is: of when what was learnt is, and of when the lists of popular blogs are; null where
-- there is nothing yet. Locks nothing.
select p.generation, nullif(p.as_of, '-infinity') as learnt_as_of,
       (select r.as_of from analytics.popularity_run r) as popular_as_of, now() as now
from recommend.progress p
