-- Rolls back a transaction of the check. Locks nothing.
rollback
