-- Returns the number of waiting envelopes, counted up to $1, and the age of the oldest in seconds; 0 when none is
-- waiting. Locks nothing.
select
  (select count(*) from (select from blogs.outbox limit $1::bigint) as waiting) as envelopes,
  coalesce((select extract(epoch from now() - o.created_at) from blogs.outbox o order by o.id limit 1), 0)::double precision as age_s
