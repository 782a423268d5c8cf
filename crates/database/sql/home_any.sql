-- Whether this database has the table for the home mark; databases of older releases do not. Locks nothing.
select pg_catalog.to_regclass('public.home') is not null as has_mark
