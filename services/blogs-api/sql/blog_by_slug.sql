-- Returns the blog with this current or former slug if readers can see it, or if $2 is its author and it is not deleted.
-- Locks nothing.
select b.id, s.slug, b.title, b.body, b.version, b.created_at, b.updated_at, b.published_at,
       a.id as author_id, a.handle as author_handle, c.total_views, c.total_likes, c.total_shares,
       array(select t.name from blogs.blog_tag bt join blogs.tag t on t.id = bt.tag_id
             where bt.blog_id = b.id order by t.name) as tags
from blogs.blog_slug asked
join blogs.blog b on b.id = asked.blog_id
join blogs.account a on a.id = b.author_id
join blogs.blog_slug s on s.blog_id = b.id and s.is_current
join blogs.blog_counter c on c.blog_id = b.id
where asked.slug = $1::text
  and (exists (select from blogs.live_blog l where l.id = b.id)
       or (b.author_id = $2::bigint and b.deleted_at is null))
