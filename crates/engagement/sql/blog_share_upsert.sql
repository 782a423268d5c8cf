-- Adds shares by channel. Locks the rows in key order.
insert into analytics.blog_share as old (blog_id, channel, shares)
select s.blog_id, s.channel, s.shares
from unnest($1::bigint[], $2::text[], $3::bigint[]) as s (blog_id, channel, shares)
order by s.blog_id, s.channel
on conflict (blog_id, channel) do update set shares = old.shares + excluded.shares
