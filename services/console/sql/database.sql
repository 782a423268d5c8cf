-- Returns the database's counters since its statistics were reset: commits, WAL, and updates of counters. Locks nothing.
select d.xact_commit as commits, (pg_current_wal_insert_lsn() - '0/0'::pg_lsn)::bigint as wal_bytes,
       coalesce(t.n_tup_upd, 0)::bigint as updates, coalesce(t.n_tup_hot_upd, 0)::bigint as hot_updates
from pg_stat_database d
left join pg_stat_user_tables t on t.schemaname = 'blogs' and t.relname = 'blog_counter'
where d.datname = current_database()
