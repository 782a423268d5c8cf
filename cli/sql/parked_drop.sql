-- Drops a parked event through its owner. Locks that event.
select analytics.drop_parked($1::uuid, $2::integer) as was_waiting
