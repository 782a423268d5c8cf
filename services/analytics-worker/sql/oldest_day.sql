-- The oldest day of a table of days. Locks nothing.
select analytics.oldest_day($1::text)
