-- Creates a day's partition and returns 'there', 'outside' or 'busy'. Locks the parent against other DDL only.
select analytics.create_day($1::text, $2::date)
