-- Returns a page of an author's live blogs by popularity, with tag $5 or (null) any tag; reads all blogs of the author.
-- Locks nothing.
select p.blog_id as id, p.rank
from blogs.live_blog l
join analytics.blog_popularity p on p.span = 'day' and p.blog_id = l.id
where l.author_id = $4::bigint and p.version = analytics.popularity_version()
  and (p.rank, p.blog_id) < ($1::double precision, $2::bigint)
  and ($5::bigint is null
       or exists (select from blogs.blog_tag bt where bt.tag_id = $5::bigint and bt.blog_id = p.blog_id))
order by p.rank desc, p.blog_id desc
limit $3::bigint
