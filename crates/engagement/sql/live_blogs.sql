-- Returns those blogs that are live. Locks nothing, so an author's edit never waits for counting.
select id
from blogs.live_blog
where id = any($1::bigint[])
