-- Throws the ballast away. Locks the table.
truncate public.ballast
