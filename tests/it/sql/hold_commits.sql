-- Makes every COMMIT that has written to the ledger wait until this session releases the advisory lock 1.
create function public.wait_at_commit() returns trigger language plpgsql security definer as $$
begin
    perform pg_advisory_xact_lock(1);
    return null;
end
$$;

create constraint trigger wait_at_commit
after insert on analytics.envelope_ledger
deferrable initially deferred
for each row execute function public.wait_at_commit();

select pg_advisory_lock(1);
