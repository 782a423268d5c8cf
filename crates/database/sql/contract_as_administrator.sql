-- Switches back from the service's role to the administrator within the transaction. Locks nothing.
reset role
