-- Locks counters in key order, because the update that follows may visit them in any order: sorting the rows that
-- `update … from` joins does not sort the rows that it locks.
select count(*) as locked
from (
  select blog_id
  from blogs.blog_counter
  where blog_id = any($1::bigint[])
  order by blog_id
  for no key update
) as counter
