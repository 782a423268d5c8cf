-- Returns the cards of these blogs, leaving out those that readers cannot see. Locks nothing.
select b.id, s.slug, b.title, l.published_at, a.id as author_id, a.handle as author_handle
from blogs.live_blog l
join blogs.blog b on b.id = l.id
join blogs.account a on a.id = l.author_id
join blogs.blog_slug s on s.blog_id = l.id and s.is_current
where l.id = any ($1::bigint[])
