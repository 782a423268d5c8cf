-- The text that stores statement $1 with parameter types $2 as a function that is never called. Locks nothing.
select pg_catalog.format(
  E'create function pg_temp.contract_pin(%s) returns void language sql begin atomic\n%s;\nend',
  pg_catalog.array_to_string($2::text[], ', '), $1::text)
