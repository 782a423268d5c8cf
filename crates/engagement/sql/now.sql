-- The database's clock. Locks nothing.
select now() as now
