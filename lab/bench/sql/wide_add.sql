-- Adds to counters in the rows of the blogs themselves. Locks the rows; only one session runs it.
update public.wide_blog as w
set total_views = w.total_views + d.views
from unnest($1::bigint[], $2::bigint[]) as d (blog_id, views)
where w.id = d.blog_id
