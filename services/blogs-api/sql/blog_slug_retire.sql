-- Turns the current slug of a blog into a former one, unless it is among the acceptable ones. Locks that slug.
update blogs.blog_slug
set is_current = false
where blog_id = $1::bigint and is_current and slug <> all ($2::text[])
