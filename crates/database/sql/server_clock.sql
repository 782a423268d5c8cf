-- The database's clock. Locks nothing.
select clock_timestamp() as now
