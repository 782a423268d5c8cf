-- Removes the role's own limits, for contrast. Locks its rows in the catalogs.
do $$
begin
  alter role recommendation_api reset statement_timeout;
  alter role recommendation_api reset temp_file_limit;
  alter role recommendation_api reset synchronous_commit;
  alter role recommendation_api set work_mem = '256MB';
  alter role recommendation_api set max_parallel_workers_per_gather = 2;
end $$
