-- Whether any migration was ever applied to this database. Locks no rows.
select to_regclass('public.refinery_schema_history') is not null as any_applied
