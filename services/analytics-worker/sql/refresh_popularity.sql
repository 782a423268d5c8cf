-- Makes the lists of popular blogs anew if they are older than $1 seconds; how many rows changed, null if it was not time or
-- somebody else is at it. Locks those rows, in key order.
select analytics.refresh_popularity(make_interval(secs => $1::double precision)) as changed
