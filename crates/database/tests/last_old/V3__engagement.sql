-- What engagement leaves behind. Owner: Analytics. No foreign key reaches into another owner's tables: one
-- would let the other side's deletes be blocked, or reach in here.

set local role analytics_owner;

-- The envelopes that have been applied, by the day inside their id. n is the number of events in each.
create table analytics.envelope_ledger (
  day date not null,
  id uuid not null,
  n integer not null check (n >= 0),
  primary key (day, id)
) partition by range (day);

-- Keyed events that have been counted. The key is a 128-bit hash over who, what, which blog and the client's
-- key. Keys of imported events are kept for good (no expiry).
create table analytics.event_key (
  key uuid primary key,
  expires_at timestamptz
);
create index event_key_expiry on analytics.event_key (expires_at) where expires_at is not null;

-- A view counts once a visitor, blog and window. Windows start at UTC midnight and divide the day, so that the
-- start of a window also says which day, and so which partition, it belongs to.
create table analytics.blog_view (
  window_start timestamptz not null,
  blog_id bigint not null,
  visitor bigint not null,
  primary key (window_start, blog_id, visitor)
) partition by range (window_start);

-- The same for views of a past that was imported.
create table analytics.blog_view_history (
  window_start timestamptz not null,
  blog_id bigint not null,
  visitor bigint not null,
  primary key (window_start, blog_id, visitor)
);

-- State, not increments: the newest version wins, and what it changed comes out of the upsert itself.
-- was_liked is the state before the last change; it is there for that statement's RETURNING.
create table analytics.blog_like (
  blog_id bigint not null,
  account_id bigint not null,
  liked boolean not null,
  was_liked boolean not null default false,
  version_us bigint not null,
  version_id uuid not null,
  primary key (blog_id, account_id)
) with (fillfactor = 90);
create index blog_like_by_account on analytics.blog_like (account_id);

create table analytics.blog_share (
  blog_id bigint not null,
  channel text not null,
  shares bigint not null,
  primary key (blog_id, channel)
) with (fillfactor = 50);

-- The series behind `stats`. It sums to the totals.
create table analytics.blog_hour (
  blog_id bigint not null,
  hour timestamptz not null,
  views bigint not null default 0,
  likes bigint not null default 0,
  unlikes bigint not null default 0,
  shares bigint not null default 0,
  primary key (blog_id, hour)
) with (fillfactor = 50, autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 5000);

-- Events set aside, each with its reason. in_ledger tells those that the equation of the ledger contains from
-- those whose day the ledger has already forgotten.
create table analytics.parked (
  envelope_id uuid not null,
  index integer not null,
  kind text,
  reason text not null,
  sqlstate text,
  body bytea not null,
  traceparent text,
  in_ledger boolean not null,
  attempts integer not null default 1,
  first_seen_at timestamptz not null default now(),
  redriven_at timestamptz,
  primary key (envelope_id, index)
);
create index parked_waiting on analytics.parked (first_seen_at) where redriven_at is null;

-- What became of every event: counted, repeat, discarded, parked. Spread over slots (the backend's process id
-- modulo 64), because one row a kind would make every writer wait for every other.
create table analytics.outcome (
  hour timestamptz not null,
  kind text not null,
  outcome text not null,
  slot smallint not null,
  n bigint not null,
  primary key (hour, kind, outcome, slot)
) with (fillfactor = 50, autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 5000);

-- The floor: no day below it is ever created again, so that a dropped day of the ledger cannot come back empty
-- and count its envelopes twice. A day is dropped only when it lies below a floor that has stood for a day. The
-- floor rises every day, so it is remembered twice: settled_day is a floor that has stood for a day, candidate_day
-- the floor as it was at candidate_at, which settles a day later. dropped_n keeps the sum of the days that are
-- gone, so that the equation still closes.
create table analytics.ledger_floor (
  only_row boolean primary key default true check (only_row),
  day date not null,
  settled_day date not null,
  candidate_day date not null,
  candidate_at timestamptz not null default now(),
  dropped_n bigint not null default 0
);
insert into analytics.ledger_floor (day, settled_day, candidate_day)
select yesterday, yesterday, yesterday from (select (now() at time zone 'utc')::date - 1 as yesterday) as today;

reset role;
