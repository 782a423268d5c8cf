-- Locks counters in key order, so that the update after it finds them locked in whatever order it is planned:
-- sorting what an `update … from` joins does not sort what it locks.
select count(*) as locked
from (
  select blog_id
  from blogs.blog_counter
  where blog_id = any($1::bigint[])
  order by blog_id
  for no key update
) as counter
