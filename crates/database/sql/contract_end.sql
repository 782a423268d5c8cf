-- Ends what contract_begin_as.sql began, and leaves nothing of it. Locks nothing.
rollback
