-- The text that prepares statement $1 with parameter types $2 under the name $3 and plans it with null parameters. A
-- prepared statement survives a rollback, so each needs its own name. Locks nothing.
select pg_catalog.format(
  E'prepare %1$I%2$s as %3$s;\nexplain execute %1$I%4$s;\ndeallocate %1$I',
  $3::text,
  '(' || nullif(pg_catalog.array_to_string($2::text[], ', '), '') || ')',
  $1::text,
  '(' || nullif(pg_catalog.array_to_string(pg_catalog.array_fill('null'::text, array[pg_catalog.cardinality($2::text[])]), ', '), '') || ')')
