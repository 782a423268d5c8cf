-- Parked events that say nothing about the worker that parked them.

set local role analytics_owner;

-- True where the message itself is the reason: it cannot be read, its time lies outside the days that can be counted, or
-- the broker gave it up. The rule that stops workers counts the other parked events. A worker of an older release leaves
-- the default, and so stops as it did.
alter table analytics.parked add column unfit boolean not null default false;
create index parked_refused on analytics.parked (first_seen_at)
  where redriven_at is null and dropped_at is null and not unfit;

reset role;
