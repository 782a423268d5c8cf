-- Parked events that match, the oldest first, after a given one. Locks nothing.
select p.envelope_id, p.index, p.kind, p.reason, p.sqlstate, p.in_ledger, p.attempts, p.first_seen_at, p.redriven_at,
       p.dropped_at, octet_length(p.body) as body_bytes
from analytics.parked p
where ($1::boolean or analytics.is_waiting(p.redriven_at, p.dropped_at))
  and ($2::text is null or position(lower($2::text) in lower(p.reason)) > 0)
  and ($3::text is null or p.sqlstate = $3::text)
  and ($4::timestamptz is null or p.first_seen_at >= $4::timestamptz)
  and ($5::timestamptz is null or p.first_seen_at < $5::timestamptz)
  and ($6::timestamptz is null
       or (p.first_seen_at, p.envelope_id, p.index) > ($6::timestamptz, $7::uuid, $8::integer))
order by p.first_seen_at, p.envelope_id, p.index
limit $9::bigint
