-- The role with which the replica copies the primary. Each run sets its password again. Locks its row in pg_authid.
\getenv password REPLICATION_PASSWORD
select 'create role replicator login replication connection limit 4'
where not exists (select from pg_roles where rolname = 'replicator') \gexec
alter role replicator password :'password';
