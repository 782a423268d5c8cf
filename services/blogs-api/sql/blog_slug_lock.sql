-- Locks the current address of a blog, and those among these that are somebody's, in order of address: two blogs that each
-- take the address of the other would otherwise wait for one another.
select from blogs.blog_slug
where blog_id = $1::bigint and is_current or slug = any ($2::text[])
order by slug
for no key update
