-- Which of these blogs are live. Reads without a lock: an author's edit never waits for a counter.
select id
from blogs.live_blog
where id = any($1::bigint[])
