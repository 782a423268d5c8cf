-- Reports what this session has done, now and not later. Locks nothing.
select pg_stat_force_next_flush()
