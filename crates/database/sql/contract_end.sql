-- Ends a transaction of the check, and leaves nothing of it. Locks nothing.
rollback
