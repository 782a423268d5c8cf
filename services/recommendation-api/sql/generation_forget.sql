-- Deletes some rows of generations other than $1. Locks them, in key order.
delete from recommend.neighbour n
using (
  select o.generation, o.blog_id
  from recommend.neighbour o
  where o.generation <> all ($1::integer[])
  order by o.generation, o.blog_id
  limit 2000
  for update) old
where n.generation = old.generation and n.blog_id = old.blog_id
