-- Limits how long a migration may wait for a table lock. Locks nothing.
set lock_timeout = '3s'
