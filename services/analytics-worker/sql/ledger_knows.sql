-- Has this envelope been applied? Locks nothing.
select exists (select from analytics.envelope_ledger l where l.day = $1::date and l.id = $2::uuid) as known
