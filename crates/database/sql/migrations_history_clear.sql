-- Deletes the migration history, in the transaction that writes the new one. Locks its rows.
delete from public.refinery_schema_history
