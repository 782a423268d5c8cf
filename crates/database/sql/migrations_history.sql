-- The migrations applied to this database, oldest first. Locks nothing.
select version, name, applied_on, checksum from public.refinery_schema_history order by version
