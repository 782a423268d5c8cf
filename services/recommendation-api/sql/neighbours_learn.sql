-- Recomputes the neighbours of the blogs $2 in generation $1, and adds these blogs to the neighbours of the blogs that
-- they are nearest to. $3: likers considered, $4: likes of each, $5: neighbours kept. A blog that lists one of the
-- blogs $2 without being listed by it keeps its neighbours until the next generation. Locks the neighbour rows that
-- change, in key order.
with pair as materialized (
  select p.blog_id, p.neighbour_id, p.similarity,
         row_number() over (partition by p.blog_id order by p.similarity desc, p.neighbour_id) as place
  from recommend.pairs_of($2::bigint[], $3::bigint, $4::bigint) p),
touched as (
  select b.id from unnest($2::bigint[]) as b (id)),
other as materialized (
  select p.neighbour_id as id
  from pair p
  where p.place <= 4 * $5::bigint and p.neighbour_id not in (select t.id from touched t)
  union
  select e.neighbour_id
  from touched t
  join recommend.neighbour n on n.generation = $1::integer and n.blog_id = t.id
  cross join lateral unnest(n.neighbour_ids) as e (neighbour_id)
  where e.neighbour_id not in (select t.id from touched t)),
entry as (
  select p.blog_id, p.neighbour_id, p.similarity from pair p
  union all
  select p.neighbour_id, p.blog_id, p.similarity from pair p join other o on o.id = p.neighbour_id
  union all
  select n.blog_id, e.neighbour_id, e.similarity
  from other o
  join recommend.neighbour n on n.generation = $1::integer and n.blog_id = o.id
  cross join lateral unnest(n.neighbour_ids, n.similarities) as e (neighbour_id, similarity)
  where e.neighbour_id not in (select t.id from touched t)),
ranked as (
  select e.blog_id, e.neighbour_id, e.similarity,
         row_number() over (partition by e.blog_id order by e.similarity desc, e.neighbour_id) as place
  from entry e),
whole as (
  select r.blog_id,
         array_agg(r.neighbour_id order by r.place) as neighbour_ids,
         array_agg(r.similarity order by r.place) as similarities
  from ranked r
  where r.place <= $5::bigint
  group by r.blog_id)
insert into recommend.neighbour as old (generation, blog_id, neighbour_ids, similarities)
select $1::integer, b.id, coalesce(w.neighbour_ids, '{}'), coalesce(w.similarities, '{}')
from (select t.id from touched t union select o.id from other o) b
left join whole w on w.blog_id = b.id
order by b.id
on conflict (generation, blog_id) do update
set neighbour_ids = excluded.neighbour_ids, similarities = excluded.similarities
where (old.neighbour_ids, old.similarities) is distinct from (excluded.neighbour_ids, excluded.similarities)
