-- What was counted, and the account of every event. Owner: Analytics. No foreign key reaches into another owner's tables: it
-- would let the other side's deletes be blocked, or reach in here.

set local role analytics_owner;

create table analytics.envelope_ledger (
  day date not null,
  id uuid not null,
  n integer not null check (n >= 0),
  primary key (day, id)
) partition by range (day);

comment on table analytics.envelope_ledger is 'Envelopes that have been applied. An envelope whose id is here counts no second time.';
comment on column analytics.envelope_ledger.day is 'The UTC day inside the id, or the one that envelope_ahead says.';
comment on column analytics.envelope_ledger.id is 'The envelope''s UUIDv7.';
comment on column analytics.envelope_ledger.n is 'How many events it contained.';

create table analytics.envelope_ahead (
  id uuid primary key,
  day date not null
);

comment on table analytics.envelope_ahead is
  'Envelopes whose ids are more than 60 days ahead, where the ledger has no partition. A redelivery finds the envelope under the same day.';
comment on column analytics.envelope_ahead.id is 'The envelope.';
comment on column analytics.envelope_ahead.day is 'The day on which it first arrived; the ledger holds it under that day.';

create table analytics.event_key (
  key uuid primary key,
  expires_at timestamptz
);
create index event_key_expiry on analytics.event_key (expires_at) where expires_at is not null;

comment on table analytics.event_key is 'Keyed events that have been counted.';
comment on column analytics.event_key.key is 'A 128-bit hash of the client''s identity, kind, blog and the client''s key.';
comment on column analytics.event_key.expires_at is 'When it may be forgotten; null for imported events, which are kept.';

-- Windows start at UTC midnight and divide the day, so that the start of a window also names its day and partition.
create table analytics.blog_view (
  window_start timestamptz not null,
  blog_id bigint not null,
  visitor bigint not null,
  primary key (window_start, blog_id, visitor)
) partition by range (window_start);

comment on table analytics.blog_view is 'Views that counted: one for each visitor, blog and window.';
comment on column analytics.blog_view.window_start is 'The start of the window.';
comment on column analytics.blog_view.blog_id is 'The blog.';
comment on column analytics.blog_view.visitor is 'A keyed hash that changes every UTC day.';

create table analytics.blog_view_history (
  window_start timestamptz not null,
  blog_id bigint not null,
  visitor bigint not null,
  primary key (window_start, blog_id, visitor)
);

comment on table analytics.blog_view_history is 'Imported views that counted: one for each visitor, blog and window.';
comment on column analytics.blog_view_history.window_start is 'The start of the window.';
comment on column analytics.blog_view_history.blog_id is 'The blog.';
comment on column analytics.blog_view_history.visitor is 'A keyed hash.';

create table analytics.blog_like (
  blog_id bigint not null,
  account_id bigint not null,
  liked boolean not null,
  was_liked boolean not null default false,
  version_us bigint not null,
  version_id uuid not null,
  applied_xid bigint not null default 0,
  primary key (blog_id, account_id)
) with (fillfactor = 90);
create index blog_like_by_xid on analytics.blog_like using brin (applied_xid)
  with (pages_per_range = 32, autosummarize = on);
-- The newest likes of an account from the index alone: a rebuild of the recommendations reads them for every like.
create index blog_like_newest on analytics.blog_like (account_id, version_us, blog_id) include (liked);

comment on table analytics.blog_like is 'State, not increments: of several events the one with the highest version wins.';
comment on column analytics.blog_like.blog_id is 'The blog.';
comment on column analytics.blog_like.account_id is 'The account; a random negative number once it is erased.';
comment on column analytics.blog_like.liked is 'Whether the account likes the blog.';
comment on column analytics.blog_like.was_liked is 'The state before the last change, for the RETURNING of that statement.';
comment on column analytics.blog_like.version_us is 'The time of the event in microseconds since 1970.';
comment on column analytics.blog_like.version_id is 'The id of the event; decides between events of the same time.';
comment on column analytics.blog_like.applied_xid is
  'The transaction that last changed the row. A reader who remembers the oldest running transaction reads each change once.';

create table analytics.blog_share (
  blog_id bigint not null,
  channel text not null,
  shares bigint not null,
  primary key (blog_id, channel)
) with (fillfactor = 50);

comment on table analytics.blog_share is 'Shares by channel.';
comment on column analytics.blog_share.blog_id is 'The blog.';
comment on column analytics.blog_share.channel is 'Where it was shared.';
comment on column analytics.blog_share.shares is 'How often.';

create table analytics.blog_hour (
  blog_id bigint not null,
  hour timestamptz not null,
  views bigint not null default 0,
  likes bigint not null default 0,
  unlikes bigint not null default 0,
  shares bigint not null default 0,
  primary key (blog_id, hour)
) with (fillfactor = 50, autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 5000);
-- The popularity job reads the last hours alone, and rows come in the order of their hours.
create index blog_hour_by_hour on analytics.blog_hour using brin (hour) with (pages_per_range = 32, autosummarize = on);

comment on table analytics.blog_hour is 'Engagement by hour; sums to the totals in blogs.blog_counter.';
comment on column analytics.blog_hour.blog_id is 'The blog.';
comment on column analytics.blog_hour.hour is 'The start of the hour, UTC.';
comment on column analytics.blog_hour.views is 'Views that counted.';
comment on column analytics.blog_hour.likes is 'Likes that were given.';
comment on column analytics.blog_hour.unlikes is 'Likes that were taken back.';
comment on column analytics.blog_hour.shares is 'Shares.';

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
  dropped_at timestamptz,
  key uuid,
  unfit boolean not null default false,
  primary key (envelope_id, index)
);
create index parked_waiting on analytics.parked (first_seen_at) where redriven_at is null and dropped_at is null;
create index parked_refused on analytics.parked (first_seen_at)
  where redriven_at is null and dropped_at is null and not unfit;
create index parked_key on analytics.parked (key)
  where key is not null and redriven_at is null and dropped_at is null;
alter table analytics.parked
  alter column kind set statistics 0, alter column reason set statistics 0, alter column body set statistics 0,
  alter column traceparent set statistics 0;

comment on table analytics.parked is 'Events that were set aside, each with its reason, until an operator decides.';
comment on column analytics.parked.envelope_id is 'The envelope that it came in.';
comment on column analytics.parked.index is 'Its place in the envelope; -1 for a whole message.';
comment on column analytics.parked.kind is 'view, like, unlike or share, where it could be read.';
comment on column analytics.parked.reason is 'Why it was set aside.';
comment on column analytics.parked.sqlstate is 'What Postgres refused it with, if it did.';
comment on column analytics.parked.body is 'The event as it came; empty once it was dropped or its account was erased.';
comment on column analytics.parked.traceparent is 'The trace that it belongs to.';
comment on column analytics.parked.in_ledger is 'Whether the ledger''s equation contains it. An envelope of a dropped day is outside.';
comment on column analytics.parked.attempts is 'How often it was tried.';
comment on column analytics.parked.first_seen_at is 'When it was first set aside.';
comment on column analytics.parked.redriven_at is 'When it was redriven and counted.';
comment on column analytics.parked.dropped_at is 'When an operator gave it up, or its account was erased.';
comment on column analytics.parked.key is 'Its event key, which is not forgotten while it waits: the client''s retry may have been counted.';
comment on column analytics.parked.unfit is
  'True where the message itself is the reason: it cannot be read, its time cannot be counted, or the broker gave it up. The rule that stops workers counts the others.';

-- The one rule of which parked events wait for a decision.
create function analytics.is_waiting(redriven_at timestamptz, dropped_at timestamptz) returns boolean
language sql immutable parallel safe
return redriven_at is null and dropped_at is null;

create table analytics.attempt (
  envelope_id uuid primary key,
  attempts integer not null,
  last_try uuid not null,
  first_at timestamptz not null default now()
);

comment on table analytics.attempt is
  'Tries of envelopes that came back repeatedly, committed before each try begins. The row goes when the try ends in order: what stays are tries that ended with their worker.';
comment on column analytics.attempt.envelope_id is 'The envelope.';
comment on column analytics.attempt.attempts is 'How many tries began.';
comment on column analytics.attempt.last_try is 'The last try that was counted. Sent again because its answer was lost, it counts once.';
comment on column analytics.attempt.first_at is 'When the first try began.';

-- The envelope is settled, or its try ended in order: its tries no longer count.
create function analytics.end_attempt(envelope uuid) returns void
language sql security definer set search_path = pg_catalog, pg_temp as $$
  delete from analytics.attempt where envelope_id = envelope
$$;

create table analytics.intake (
  ring smallint not null,
  slot smallint not null,
  minute timestamptz not null,
  events bigint not null,
  good_at timestamptz,
  primary key (ring, slot)
) with (fillfactor = 50, autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 5000);

comment on table analytics.intake is
  'What the workers took in by minute, for the rule that stops them before a bad release parks everything. A ring: rows are used again after an hour.';
comment on column analytics.intake.ring is 'The minute of the hour.';
comment on column analytics.intake.slot is 'The backend''s process id modulo 64.';
comment on column analytics.intake.minute is 'The minute that the row is about now.';
comment on column analytics.intake.events is 'How many events were taken in.';
comment on column analytics.intake.good_at is 'When an event last was not parked.';

create table analytics.outcome (
  hour timestamptz not null,
  kind text not null,
  outcome text not null,
  slot smallint not null,
  n bigint not null,
  primary key (hour, kind, outcome, slot)
) with (fillfactor = 50, autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 5000);

comment on table analytics.outcome is 'What became of every event. Spread over slots, so that writers do not wait for each other.';
comment on column analytics.outcome.hour is 'The hour in which it was decided.';
comment on column analytics.outcome.kind is 'view, like, unlike, share, or unreadable.';
comment on column analytics.outcome.outcome is 'counted, repeat, discarded or parked.';
comment on column analytics.outcome.slot is 'The backend''s process id modulo 64.';
comment on column analytics.outcome.n is 'How many events.';

reset role;
