-- Returns the engagement of one blog from $3 to before $4, summed by UTC hour or day ($2). Locks nothing.
select date_trunc($2::text, h.hour, 'UTC') as at,
       sum(h.views)::bigint as views,
       sum(h.likes)::bigint as likes,
       sum(h.unlikes)::bigint as unlikes,
       sum(h.shares)::bigint as shares
from analytics.blog_hour h
where h.blog_id = $1::bigint and h.hour >= $3::timestamptz and h.hour < $4::timestamptz
group by 1
order by 1
