-- The statistics of updates of a table, and its size with indexes, in bytes. Locks nothing.
select t.n_tup_upd as updates, t.n_tup_hot_upd as hot_updates, pg_total_relation_size(t.relid) as bytes
from pg_stat_user_tables t
where t.relid = $1::text::regclass
