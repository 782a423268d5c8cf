-- Whether the connected role may read the settings in the server's files, and the password verifiers. Locks nothing.
select pg_catalog.has_function_privilege('pg_catalog.pg_show_all_file_settings()', 'execute') as files,
       pg_catalog.has_table_privilege('pg_catalog.pg_authid', 'select') as passwords
