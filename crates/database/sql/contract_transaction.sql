-- Which transaction this is. Locks nothing.
select pg_catalog.pg_current_xact_id()::text
