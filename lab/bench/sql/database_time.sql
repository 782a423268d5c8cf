-- Time that sessions of this database have spent executing, in milliseconds, as far as they have reported. Locks nothing.
select d.active_time as ms from pg_stat_database d where d.datname = current_database()
