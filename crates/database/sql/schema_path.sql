-- Until the end of the transaction, makes Postgres qualify every name in the definitions that it prints. Locks nothing.
set local search_path = pg_catalog
