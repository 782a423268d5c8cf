-- Restores a blog through its owner. Locks that blog.
select blogs.restore_blog($1::bigint) as has_changed
