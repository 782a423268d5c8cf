-- Takes a blog from sight through its owner. Locks that blog.
select blogs.take_down_blog($1::bigint) as has_changed
