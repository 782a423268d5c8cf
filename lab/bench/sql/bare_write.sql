-- The smallest write that counts a view: one row, one addition, none of the invariants. Locks the counter's row.
update blogs.blog_counter as c
set total_views = c.total_views + 1
where c.blog_id = $1::bigint
returning c.total_views
