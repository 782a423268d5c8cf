-- Drops the oldest day of notifications if it is more than $1 days old, and returns it. Locks the parent against
-- everything, waiting at most 200 ms for the lock.
select notify.drop_oldest_day($1::integer)
