-- Deletes the ballast. Locks the table.
truncate public.ballast
