-- Makes the partition of notifications for a point in time. Locks the parent against other DDL only.
select notify.create_day(($1::timestamptz at time zone 'utc')::date)
