-- The session that holds the advisory lock of the name $1 in this database. Locks nothing.
select pg_catalog.format('process %s (role %s, application %s)', l.pid, coalesce(a.usename, 'unknown'),
                         coalesce(nullif(a.application_name, ''), 'without a name')) as holder
from pg_catalog.pg_locks l
left join pg_catalog.pg_stat_activity a on a.pid = l.pid
where l.locktype = 'advisory' and l.granted and l.objsubid = 1
  and l.database = (select d.oid from pg_catalog.pg_database d where d.datname = pg_catalog.current_database())
  and (l.classid::bigint << 32 | l.objid::bigint) = pg_catalog.hashtextextended($1::text, 0)
order by l.pid
limit 1
