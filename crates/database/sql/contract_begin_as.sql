-- The text that begins a transaction under role $1, as a service's session would be. Locks nothing.
select pg_catalog.format(
  'begin; set local search_path = ''''; set local plan_cache_mode = force_generic_plan; set local role %I', $1::text)
