-- Whether this database has a migration history. Locks no rows.
select to_regclass('public.refinery_schema_history') is not null as any_applied
