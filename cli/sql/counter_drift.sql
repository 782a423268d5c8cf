-- Where the counters of the next blogs differ from the counted events, and how far that looked. Locks nothing.
select d.blog_id, d.kind, d.counter, d.counted, d.looked_at, d.last_id
from analytics.counter_drift($1::bigint, $2::integer) as d
