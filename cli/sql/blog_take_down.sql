-- Takes a blog down through its owner. Locks that blog.
select blogs.take_down_blog($1::bigint) as has_changed
