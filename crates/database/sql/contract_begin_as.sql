-- The text that begins a transaction under role $1, with the settings of a service's session. Locks nothing.
select pg_catalog.format(
  'begin; set local search_path = ''''; set local plan_cache_mode = force_generic_plan; set local role %I', $1::text)
