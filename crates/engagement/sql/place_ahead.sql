-- Decides under which day the ledger holds an envelope whose id is far in the future; null for any other id. Locks its new
-- row, and blocks the creation of days until this transaction ends.
select analytics.place_ahead($1::uuid) as day
