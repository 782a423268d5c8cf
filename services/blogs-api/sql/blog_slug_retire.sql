-- The current address of a blog becomes a former one, unless it is among those that will do. Locks that address.
update blogs.blog_slug
set is_current = false
where blog_id = $1::bigint and is_current and slug <> all ($2::text[])
