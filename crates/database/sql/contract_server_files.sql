-- The settings in the server's files, one line and value each. Values that may contain a secret are hashed. Locks nothing.
select 'setting ' || f.name || ' in ' || f.sourcefile as line,
       coalesce(case when f.name ~ 'conninfo|command|passphrase' then pg_catalog.left(pg_catalog.md5(f.setting), 8)
                     else f.setting end, 'null') as value
from pg_catalog.pg_file_settings f
where f.name is not null
order by f.seqno
