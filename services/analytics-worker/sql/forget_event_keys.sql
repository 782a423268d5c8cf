-- Deletes expired event keys, at most $1 of them. Locks those rows, skipping those that others hold.
select analytics.forget_event_keys($1::integer)
