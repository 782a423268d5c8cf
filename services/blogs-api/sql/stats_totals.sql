-- Returns the totals of one blog that the reader ($2, or null) may see: a live one, or the reader's own unless it is
-- deleted. Locks nothing.
select c.total_views, c.total_likes, c.total_shares, now() as as_of
from blogs.blog b
join blogs.blog_counter c on c.blog_id = b.id
left join blogs.live_blog l on l.id = $1::bigint
where b.id = $1::bigint and (l.id is not null or (b.author_id = $2::bigint and b.deleted_at is null))
