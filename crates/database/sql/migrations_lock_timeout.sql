-- How long a migration may wait for a table. Locks nothing.
set lock_timeout = '3s'
