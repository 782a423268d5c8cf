-- Returns a page of an author's blogs, including drafts, newest first by creation. Locks nothing.
select b.id, s.slug, b.title, b.updated_at, b.published_at, b.taken_down_at is not null as is_taken_down
from blogs.blog b
join blogs.blog_slug s on s.blog_id = b.id and s.is_current
where b.author_id = $1::bigint and b.deleted_at is null and b.id < $2::bigint
order by b.id desc
limit $3::bigint
