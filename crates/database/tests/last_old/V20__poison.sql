-- Messages that end workers, and the rule that stops workers before a bad release sets everything aside.

set local role analytics_owner;

-- Tries of envelopes that came back again and again, each committed before it begins. A row goes when its envelope is
-- settled: what stays are tries that ended with their worker.
create table analytics.attempt (
  envelope_id uuid primary key,
  attempts integer not null,
  -- The try that was counted last: told again, because its answer was lost, it counts no second time.
  last_try uuid not null,
  first_at timestamptz not null default now()
);

-- What the workers took in, by minute and slot (the backend's process id modulo 64), and when something last was not
-- parked. A ring: a minute's rows are used again an hour later.
create table analytics.intake (
  ring smallint not null,
  slot smallint not null,
  minute timestamptz not null,
  events bigint not null,
  good_at timestamptz,
  primary key (ring, slot)
) with (fillfactor = 50, autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 5000);

-- An envelope is settled, or its try was given up in order: the tries count no more.
create function analytics.end_attempt(envelope uuid) returns void
language sql security definer set search_path = '' as $$
  delete from analytics.attempt where envelope_id = envelope
$$;

grant select, insert, update (attempts, last_try) on analytics.attempt to analytics_worker;
grant execute on function analytics.end_attempt(uuid) to analytics_worker;
grant select, insert, update (minute, events, good_at) on analytics.intake to engagement_writer;
grant select on analytics.attempt, analytics.intake to operator;

reset role;
