-- Adds to counters that have rows of their own. Locks the rows; only one session runs it.
update blogs.blog_counter as c
set total_views = c.total_views + d.views
from unnest($1::bigint[], $2::bigint[]) as d (blog_id, views)
where c.blog_id = d.blog_id
