-- The totals of these blogs. Locks nothing.
select blog_id, total_views, total_likes, total_shares
from blogs.blog_counter
where blog_id = any($1::bigint[])
