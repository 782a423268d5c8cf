-- Makes definitions name every object with its schema, until the end of the transaction. Locks nothing.
set local search_path = pg_catalog
