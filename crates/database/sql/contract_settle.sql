-- Runs what is deferred to the end of the transaction. Locks what that locks.
set constraints all immediate
