-- Creates the partition that is $1 days after the database's today; returns 'there' or 'busy'. Locks the parent against
-- other DDL only.
select notify.create_day((now() at time zone 'utc')::date + $1::integer)
