-- Makes the day of notifications of a moment. Locks the parent against other DDL only.
select notify.create_day(($1::timestamptz at time zone 'utc')::date)
