-- Counts that must be 0 at the end, and the deadlocks since the statistics began. Locks nothing.
select (select count(*) from blogs.outbox) as outbox,
       (select count(*) from analytics.parked) as parked,
       (select coalesce(sum(n), 0)::bigint from analytics.outcome where outcome = 'discarded') as discarded,
       (select coalesce(sum(n), 0)::bigint from analytics.envelope_ledger) as ledger,
       (select d.deadlocks from pg_catalog.pg_stat_database d where d.datname = current_database()) as deadlocks
