-- Locks the current slug of a blog and each slug in this list that exists, in order of slug. Without that order, two blogs
-- that each take the other's slug would deadlock.
select from blogs.blog_slug
where blog_id = $1::bigint and is_current or slug = any ($2::text[])
order by slug
for no key update
