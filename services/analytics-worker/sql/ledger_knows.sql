-- Returns whether this envelope has been applied. Locks nothing.
select exists (
  select
  from analytics.envelope_ledger l
  where l.day = coalesce((select a.day from analytics.envelope_ahead a where a.id = $2::uuid), $1::date)
    and l.id = $2::uuid) as known
