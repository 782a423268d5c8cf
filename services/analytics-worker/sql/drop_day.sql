-- Drops an old day's partition if no envelope of it has been waiting during the last day. Locks the parent against
-- everything, waiting at most 200 ms for the lock.
select analytics.drop_day($1::text, $2::date, $3::integer)
