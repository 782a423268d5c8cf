-- Records migrations as applied, by their versions $1, names $2, times $3 and checksums $4. Locks the new rows.
insert into public.refinery_schema_history (version, name, applied_on, checksum)
select h.version, h.name, h.applied_on, h.checksum
from rows from (
  pg_catalog.unnest($1::integer[]), pg_catalog.unnest($2::text[]), pg_catalog.unnest($3::text[]), pg_catalog.unnest($4::text[])
) as h (version, name, applied_on, checksum)
