-- The version of the newest migration of this database. Locks nothing.
select coalesce(max(version), 0) as version from public.refinery_schema_history
