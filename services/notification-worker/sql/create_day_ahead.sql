-- Makes the partition so many days ahead of the database's today: 'there' or 'busy'. Locks the parent against other DDL only.
select notify.create_day((now() at time zone 'utc')::date + $1::integer)
