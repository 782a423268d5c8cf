-- Returns the newest 100 blogs that the accounts followed by $1 published since $2, each with its engagement since then.
-- Reads at most 1000 followed accounts and 20 blogs of each. Locks nothing.
select page.id, b.title, a.handle as author, page.published_at, sum.views, sum.likes, sum.shares
from (
  select l.id, f.followee_id, l.published_at
  from (select f.followee_id from social.follow f where f.follower_id = $1::bigint order by 1 limit 1000) f
  cross join lateral (
    select l.id, l.published_at from blogs.live_blog l
    where l.author_id = f.followee_id and l.published_at >= $2::timestamptz
    order by l.published_at desc, l.id desc limit 20) l
  order by l.published_at desc, l.id desc limit 100) page
join blogs.blog b on b.id = page.id
join blogs.account a on a.id = page.followee_id
cross join lateral (
  select coalesce(sum(h.views), 0)::bigint as views, coalesce(sum(h.likes), 0)::bigint as likes,
         coalesce(sum(h.shares), 0)::bigint as shares
  from analytics.blog_hour h
  where h.blog_id = page.id and h.hour >= $2::timestamptz) sum
order by page.published_at desc, page.id desc
