-- Returns what lists show of these blogs, newest first, leaving out those that are no longer live. Locks nothing.
select b.id, s.slug, b.title, b.version, b.created_at, b.updated_at, b.published_at,
       a.id as author_id, a.handle as author_handle, c.total_views, c.total_likes, c.total_shares,
       array(select t.name from blogs.blog_tag bt join blogs.tag t on t.id = bt.tag_id
             where bt.blog_id = b.id order by t.name) as tags
from blogs.live_blog l
join blogs.blog b on b.id = l.id
join blogs.account a on a.id = b.author_id
join blogs.blog_slug s on s.blog_id = b.id and s.is_current
join blogs.blog_counter c on c.blog_id = b.id
where l.id = any ($1::bigint[])
order by b.published_at desc, b.id desc
