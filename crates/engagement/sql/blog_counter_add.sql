-- Adds to the totals. Locks the rows; blog_counter_lock.sql has already locked them if there are several.
update blogs.blog_counter as c
set total_views = c.total_views + d.views,
    total_likes = c.total_likes + d.likes,
    total_shares = c.total_shares + d.shares
from unnest($1::bigint[], $2::bigint[], $3::bigint[], $4::bigint[]) as d (blog_id, views, likes, shares)
where c.blog_id = d.blog_id
