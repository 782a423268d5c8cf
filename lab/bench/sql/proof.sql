-- The whole account of a cell, in one snapshot: what the counters say, what the series says, what the ledger let
-- in and what became of it. Locks no rows.
select
  (select coalesce(sum(total_views), 0)::bigint from blogs.blog_counter) as total_views,
  (select coalesce(sum(views), 0)::bigint from analytics.blog_hour) as hour_views,
  (select coalesce(sum(n), 0)::bigint from analytics.envelope_ledger) as ledger_events,
  (select count(*) from analytics.envelope_ledger) as ledger_envelopes,
  (select coalesce(sum(n) filter (where outcome = 'counted'), 0)::bigint from analytics.outcome) as counted,
  (select coalesce(sum(n) filter (where outcome = 'repeat'), 0)::bigint from analytics.outcome) as repeat,
  (select coalesce(sum(n) filter (where outcome = 'discarded'), 0)::bigint from analytics.outcome) as discarded,
  (select coalesce(sum(n) filter (where outcome = 'parked'), 0)::bigint from analytics.outcome) as parked,
  (select coalesce(sum(n), 0)::bigint from analytics.outcome) as outcomes,
  (select count(*) from blogs.outbox) as outbox_envelopes
