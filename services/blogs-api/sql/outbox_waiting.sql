-- How many envelopes wait, counted up to $1, and how long the oldest of them has, in seconds; 0 when none waits.
-- Locks nothing.
select
  (select count(*) from (select from blogs.outbox limit $1::bigint) as waiting) as envelopes,
  coalesce((select extract(epoch from now() - o.created_at) from blogs.outbox o order by o.id limit 1), 0)::double precision as age_s
