-- The totals of every blog. Locks nothing.
select blog_id, total_views, total_likes, total_shares
from blogs.blog_counter
