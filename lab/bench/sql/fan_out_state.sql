-- How far a blog's fan-out is; seconds from its publishing to its end. A row of nulls when it has not begun. Locks nothing.
select f.state, f.looked_at, extract(epoch from f.ended_at - f.published_at)::double precision as seconds
from (select $1::bigint as blog_id) as asked
left join notify.fan_out f on f.blog_id = asked.blog_id
