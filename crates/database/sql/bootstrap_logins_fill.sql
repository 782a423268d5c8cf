-- Reads the roles with their verifiers and connection limits as COPY data. Locks nothing that other sessions see.
copy pg_temp.bootstrap_login (role, verifier, connections) from stdin
