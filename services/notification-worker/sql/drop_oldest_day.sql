-- Drops the oldest day of notifications if it is older than so many days, and says which it was. Locks the parent against
-- everything, for at most 200 ms of waiting.
select notify.drop_oldest_day($1::integer)
