-- Adds to the hourly series. Locks the rows in key order.
insert into analytics.blog_hour as old (blog_id, hour, views, likes, unlikes, shares)
select h.blog_id, h.hour, h.views, h.likes, h.unlikes, h.shares
from unnest($1::bigint[], $2::timestamptz[], $3::bigint[], $4::bigint[], $5::bigint[], $6::bigint[])
  as h (blog_id, hour, views, likes, unlikes, shares)
order by h.blog_id, h.hour
on conflict (blog_id, hour) do update
set views = old.views + excluded.views,
    likes = old.likes + excluded.likes,
    unlikes = old.unlikes + excluded.unlikes,
    shares = old.shares + excluded.shares
