-- Makes a former slug of a blog its current one again. Locks that slug.
update blogs.blog_slug
set is_current = true
where slug = $1::text and blog_id = $2::bigint and not is_current
