-- The roles with their verifiers and connection limits, as lines of data. Locks nothing that others see.
copy pg_temp.bootstrap_login (role, verifier, connections) from stdin
