-- Makes definitions schema-qualify every object until the end of the transaction. Locks nothing.
set local search_path = pg_catalog
