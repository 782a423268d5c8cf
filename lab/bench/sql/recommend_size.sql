-- The size of the neighbours. Locks nothing.
select count(*) as blogs, coalesce(avg(cardinality(n.neighbour_ids)), 0)::double precision as neighbours,
       pg_total_relation_size('recommend.neighbour') as bytes
from recommend.neighbour n
join recommend.progress p on p.generation = n.generation
