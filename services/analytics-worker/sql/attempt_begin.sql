-- Records an attempt to apply an envelope, and returns the number of attempts so far. Recording the same attempt twice
-- counts once. Locks the envelope's row of attempts.
insert into analytics.attempt as old (envelope_id, attempts, last_try)
values ($1::uuid, 1, $2::uuid)
on conflict (envelope_id) do update
set attempts = old.attempts + (old.last_try <> excluded.last_try)::integer,
    last_try = excluded.last_try
returning old.attempts
