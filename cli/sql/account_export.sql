-- Everything that the owners of the schemas keep of a person. Locks nothing.
select blogs.export_account($1::bigint) || analytics.export_account($1::bigint) || notify.export_account($1::bigint) as export
