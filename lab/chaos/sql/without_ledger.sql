-- A negative control: the ledger forgets every envelope at once, so a second delivery counts again.
create function analytics.forget_at_once() returns trigger
language plpgsql security definer set search_path = '' as $$
begin
  delete from analytics.envelope_ledger where day = new.day and id = new.id;
  return null;
end $$;
create trigger forget_at_once after insert on analytics.envelope_ledger
  for each row execute function analytics.forget_at_once()
