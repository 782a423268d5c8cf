-- Locks the current slug of a blog, and those of these slugs that exist, in order of slug. Two blogs that each take the
-- other's slug would otherwise deadlock.
select from blogs.blog_slug
where blog_id = $1::bigint and is_current or slug = any ($2::text[])
order by slug
for no key update
