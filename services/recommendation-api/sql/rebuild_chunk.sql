-- Computes the neighbours of the next $3 live blogs after $2 in generation $1, and returns the last of these blogs;
-- null if none is left. $4: likers considered, $5: likes of each, $6: neighbours kept. The planner does not
-- know that the view's rows can come in order of id. The statement therefore walks the blogs in that order, checks for each
-- whether it is live, and stops at the last one it needs. Locks the rows that it inserts, which no reader sees yet.
with blog as materialized (
  select b.id
  from blogs.blog b
  cross join lateral (select from blogs.live_blog l where l.id = b.id offset 0) live
  where b.id > $2::bigint
  order by b.id
  limit $3::bigint),
ranked as (
  select p.blog_id, p.neighbour_id, p.similarity,
         row_number() over (partition by p.blog_id order by p.similarity desc, p.neighbour_id) as place
  from recommend.pairs_of(array(select b.id from blog b), $4::bigint, $5::bigint) p),
made as (
  insert into recommend.neighbour (generation, blog_id, neighbour_ids, similarities)
  select $1::integer, r.blog_id,
         array_agg(r.neighbour_id order by r.place), array_agg(r.similarity order by r.place)
  from ranked r
  where r.place <= $6::bigint
  group by r.blog_id
  order by r.blog_id
  on conflict (generation, blog_id) do nothing
  returning 1)
select (select max(b.id) from blog b) as last_id, (select count(*) from blog b) as blogs, (select count(*) from made) as made
