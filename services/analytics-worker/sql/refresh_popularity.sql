-- Rebuilds the lists of popular blogs if they are older than $1 seconds. Returns the number of changed rows; null if they
-- are not due or another worker is rebuilding them. Locks those rows, in key order.
select analytics.refresh_popularity(make_interval(secs => $1::double precision)) as changed
