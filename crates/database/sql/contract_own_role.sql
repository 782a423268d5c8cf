-- Switches back to the role that connected, in case a migration changed the role. Lasts until the end of the transaction.
-- Locks nothing.
set local session authorization default
