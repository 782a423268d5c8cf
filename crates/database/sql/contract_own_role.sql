-- Until the end of the transaction, back to the role that connected, whatever a migration has set. Locks nothing.
set local session authorization default
