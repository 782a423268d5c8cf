-- Decides under which day the ledger holds an envelope from far ahead; null if its id is not. Locks its new row, and the
-- making of days for as long as this transaction lasts.
select analytics.place_ahead($1::uuid) as day
