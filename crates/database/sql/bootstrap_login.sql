-- Sets the roles' passwords and connection limits. Errors never contain a verifier. Locks the roles' rows in the catalog.
do $$
declare
  login record;
begin
  for login in select l.role, l.verifier, l.connections from pg_temp.bootstrap_login l order by l.role loop
    begin
      execute pg_catalog.format('alter role %I password %L connection limit %s', login.role, login.verifier, login.connections);
    exception when others then
      raise exception 'the password of role % cannot be set: %', login.role, sqlerrm using errcode = sqlstate;
    end;
  end loop;
end $$
