-- Whether this database can hold a mark of its home: databases of older releases cannot. Locks nothing.
select pg_catalog.to_regclass('public.home') is not null as has_mark
