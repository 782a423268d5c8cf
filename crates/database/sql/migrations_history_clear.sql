-- Deletes the history of the migrations, in the transaction that writes another. Locks its rows.
delete from public.refinery_schema_history
