-- The progress of a blog's fan-out, and the seconds from publishing to its end. A row of nulls if it has not begun. Locks nothing.
select f.state, f.looked_at, extract(epoch from f.ended_at - f.published_at)::double precision as seconds
from (select $1::bigint as blog_id) as asked
left join notify.fan_out f on f.blog_id = asked.blog_id
