-- Reports this session's statistics at once. Locks nothing.
select pg_stat_force_next_flush()
