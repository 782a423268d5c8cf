-- Fan-outs, unfinished ones first and then the newest, and the number that match. Locks nothing.
select f.blog_id, b.title, f.state, f.published_at, f.total, f.looked_at, f.notified, f.rows_per_s,
       notify.seconds_left(f.state, f.total, f.looked_at, f.rows_per_s), f.created_at, f.ended_at,
       count(*) over () as matching
from notify.fan_out f
join blogs.blog b on b.id = f.blog_id
where ($1::boolean or f.ended_at is null) and ($2::bigint is null or f.blog_id = $2::bigint)
order by f.ended_at is not null, f.created_at desc, f.blog_id desc
limit $3::bigint
