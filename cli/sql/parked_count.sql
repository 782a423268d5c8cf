-- The number of parked events that match. Locks nothing.
select count(*) as matching
from analytics.parked p
where ($1::boolean or analytics.is_waiting(p.redriven_at, p.dropped_at))
  and ($2::text is null or position(lower($2::text) in lower(p.reason)) > 0)
  and ($3::text is null or p.sqlstate = $3::text)
  and ($4::timestamptz is null or p.first_seen_at >= $4::timestamptz)
  and ($5::timestamptz is null or p.first_seen_at < $5::timestamptz)
