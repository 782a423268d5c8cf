-- Returns today's date by the database's clock, which decides about days. Locks nothing.
select (now() at time zone 'utc')::date as today
