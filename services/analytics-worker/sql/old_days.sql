-- Returns the days of a table that are older than the days to keep, oldest first. Deletes, and so locks, the marks of days
-- that are no longer old.
select analytics.old_days($1::text, $2::integer)
