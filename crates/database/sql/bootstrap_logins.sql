-- Creates the table for the password verifiers, so that no statement text and no bound value contains one and neither the
-- log, pg_stat_activity nor pg_stat_statements shows it. The table lasts until commit; only this session sees it.
create temporary table bootstrap_login (role text primary key, verifier text not null, connections integer not null)
on commit drop
