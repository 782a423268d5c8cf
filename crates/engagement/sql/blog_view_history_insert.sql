-- Inserts imported views, one row per visitor, blog and window. Returns the new rows. Locks them in key order.
insert into analytics.blog_view_history (window_start, blog_id, visitor)
select v.window_start, v.blog_id, v.visitor
from unnest($1::timestamptz[], $2::bigint[], $3::bigint[]) as v (window_start, blog_id, visitor)
order by v.window_start, v.blog_id, v.visitor
on conflict (window_start, blog_id, visitor) do nothing
returning window_start, blog_id, visitor
