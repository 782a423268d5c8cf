-- Notes a try of an envelope and returns which it is. Locks its row.
insert into analytics.attempt as old (envelope_id, attempts)
values ($1::uuid, 1)
on conflict (envelope_id) do update set attempts = old.attempts + 1
returning old.attempts
