-- Returns the days of a table that are older than the days to keep, oldest first. Locks the marks of days that are not
-- old.
select analytics.old_days($1::text, $2::integer)
