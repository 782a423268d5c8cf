-- The role that the replica copies with; run again, it gets the password of now. Locks its row in pg_authid.
\getenv password REPLICATION_PASSWORD
select 'create role replicator login replication connection limit 4'
where not exists (select from pg_roles where rolname = 'replicator') \gexec
alter role replicator password :'password';
