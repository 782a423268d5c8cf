-- Returns to the role that connected until the end of the transaction, in case a migration changed it. Locks nothing.
set local session authorization default
