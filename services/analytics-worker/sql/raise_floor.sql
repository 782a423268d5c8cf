-- Raises the floor of the ledger and returns where it is. Locks its one row.
select analytics.raise_floor($1::date)
