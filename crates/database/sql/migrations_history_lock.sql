-- Blocks all other sessions' access to the migration history until the end of the transaction. Locks the table.
lock table public.refinery_schema_history in access exclusive mode
