-- Creates the table into which the password verifiers are copied. No statement text and no bound value then contains one, so
-- the log, pg_stat_activity and pg_stat_statements show none. The table lasts until commit; only this session sees it.
create temporary table bootstrap_login (role text primary key, verifier text not null, connections integer not null)
on commit drop
