-- Bytes of WAL since the cluster was made. Locks nothing.
select (pg_current_wal_insert_lsn() - '0/0'::pg_lsn)::bigint as bytes
