-- The migrations that were applied to this database, the oldest first. Locks nothing.
select version, name, applied_on, checksum from public.refinery_schema_history order by version
