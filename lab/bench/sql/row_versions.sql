-- Updates of counters, the number of them that were HOT, and dead row versions of all tables, since the database was made,
-- as far as sessions have reported them. Locks nothing.
select
  coalesce(sum(t.n_tup_upd) filter (where t.relname = 'blog_counter'), 0)::bigint as counter_updates,
  coalesce(sum(t.n_tup_hot_upd) filter (where t.relname = 'blog_counter'), 0)::bigint as counter_hot_updates,
  coalesce(sum(t.n_tup_upd + t.n_tup_del), 0)::bigint as dead
from pg_stat_user_tables t
