-- Returns the live blogs that were imported from these paths. A scalar subquery checks live_blog for these only; a join
-- would compute the whole view. Locks nothing.
select b.source_path, b.id
from blogs.blog b
where b.source_path = any ($1::text[])
  and (select true from blogs.live_blog l where l.id = b.id)
order by b.source_path
