-- Begins the fan-out of a blog that readers can see, unless it has one already or the time of its first publishing is
-- missing. Locks the new row.
insert into notify.fan_out (blog_id, published_at, total)
select l.id, l.first_published_at,
       coalesce((select sum(c.followers) from social.follow_counter c where c.account_id = l.author_id), 0)::bigint
from blogs.live_blog l
where l.id = $1::bigint and l.first_published_at is not null
on conflict (blog_id) do nothing
