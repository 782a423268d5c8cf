-- Back from the service's role to the administrator's, within the transaction. Locks nothing.
reset role
