-- Drops a day, if no envelope of it can come any more. Locks the parent against everything, for at most 200 ms of waiting.
select analytics.drop_day($1::text, $2::date)
