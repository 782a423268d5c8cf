-- Where bootstrap puts the verifiers of the passwords, so that no statement's text and no bound value holds one: neither
-- the log, nor pg_stat_activity, nor pg_stat_statements shows them. Gone with the transaction; only its session sees it.
create temporary table bootstrap_login (role text primary key, verifier text not null, connections integer not null)
on commit drop
