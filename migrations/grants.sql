-- What services and operators may do, beyond what they own: `migrate` applies this file after the migrations, as a whole and
-- every time. It only grants; taking a right away needs a REVOKE in a migration as well. A role may use the columns that its
-- SQL names and nothing else: `contract check` proves that these rights are enough, and
-- `crates/database/tests/database/roles.rs` that no role has more.

-- The Blogs API: its own tables, with DELETE only where rows are meant to go, and TRUNCATE nowhere.
grant usage on schema blogs, social, analytics, notify to blogs_api;
grant select, insert, update (password_hash, token_epoch, deleted_at) on blogs.account to blogs_api;
grant select, insert, update (title, body, version, updated_at, published_at, first_published_at, deleted_at)
  on blogs.blog to blogs_api;
grant select, insert, update (is_current) on blogs.blog_slug to blogs_api;
grant select, insert on blogs.tag, blogs.blog_counter to blogs_api;
grant select, insert, delete on blogs.blog_tag to blogs_api;
grant select on blogs.live_blog, blogs.active_account to blogs_api;
grant select, insert, delete, update (claimed_until, attempts) on blogs.outbox to blogs_api;
-- The statement that forgets old answers locks their rows, and `for update` requires UPDATE of at least one column. No
-- statement changes `created_at`.
grant select, insert, delete, update (created_at) on blogs.idempotency_key to blogs_api;
grant select, insert (account_id), update (id, requested_at) on blogs.export_request to blogs_api;
grant execute on function blogs.turn_to_forget(), blogs.forget_deleted_accounts(integer, integer),
  blogs.is_open_export(uuid, timestamptz) to blogs_api;
grant select, insert, delete on social.follow to blogs_api;
grant select on social.follow_counter to blogs_api;
grant select on analytics.blog_hour, analytics.blog_popularity, analytics.popularity_run to blogs_api;
-- Pages show whether the reader likes a blog.
grant select (blog_id, account_id, liked) on analytics.blog_like to blogs_api;
grant execute on function analytics.popularity_version(), analytics.half_life(text),
  analytics.popularity_at(double precision, timestamptz, interval) to blogs_api;
grant select on notify.fan_out to blogs_api;
grant select, update (read_at) on notify.notification to blogs_api;
grant execute on function notify.seconds_left(text, bigint, bigint, double precision) to blogs_api;

-- Writers of engagement: the Analytics workers, operators who redrive, and the Blogs API where the direct path is enabled.
grant usage on schema blogs, analytics to engagement_writer;
grant select (id) on blogs.live_blog to engagement_writer;
grant select on blogs.active_account to engagement_writer;
grant select, update (total_views, total_likes, total_shares) on blogs.blog_counter to engagement_writer;
grant select, insert on analytics.envelope_ledger, analytics.event_key, analytics.blog_view, analytics.blog_view_history
  to engagement_writer;
grant select on analytics.envelope_ahead to engagement_writer;
grant select, insert, update (liked, was_liked, version_us, version_id, applied_xid) on analytics.blog_like to engagement_writer;
grant select, insert, update (shares) on analytics.blog_share to engagement_writer;
grant select, insert, update (views, likes, unlikes, shares) on analytics.blog_hour to engagement_writer;
-- A redrive records in the event's row when it was redriven, whether the ledger now holds its late envelope, and why it was
-- refused again.
grant select, insert, update (attempts, redriven_at, in_ledger, reason, sqlstate) on analytics.parked to engagement_writer;
grant select, insert, update (minute, events, good_at) on analytics.intake to engagement_writer;
grant select, insert, update (n) on analytics.outcome to engagement_writer;
grant execute on function analytics.create_day(text, date), analytics.place_ahead(uuid) to engagement_writer;

-- The Analytics workers.
grant usage on schema analytics to analytics_worker;
grant select on analytics.ledger_floor to analytics_worker;
grant select, insert, update (attempts, last_try) on analytics.attempt to analytics_worker;
grant execute on function analytics.old_days(text, integer), analytics.drop_day(text, date, integer),
  analytics.forget_event_keys(integer), analytics.end_attempt(uuid), analytics.refresh_popularity(interval),
  analytics.counter_drift(bigint, integer) to analytics_worker;

-- The Notification workers: they write inboxes and do not read them.
grant usage on schema blogs, social, notify to notification_worker;
grant select (id, author_id, first_published_at) on blogs.live_blog to notification_worker;
grant select on blogs.first_publishing, blogs.inactive_account to notification_worker;
grant select on social.follow to notification_worker;
grant select (account_id, followers) on social.follow_counter to notification_worker;
grant select, insert, update (state, total, after_id, looked_at, notified, rows_per_s, turn_at, ended_at)
  on notify.fan_out to notification_worker;
grant insert on notify.notification to notification_worker;
grant execute on function notify.create_day(date), notify.drop_oldest_day(integer) to notification_worker;

-- The Recommendation API.
grant usage on schema recommend, blogs, social, analytics to recommendation_api;
grant select on blogs.live_blog, blogs.active_account, blogs.blog_tag to recommendation_api;
-- Verifying a token needs the epoch of its account and the time when the account was created.
grant select (id, handle, token_epoch, created_at) on blogs.account to recommendation_api;
grant select (id, title) on blogs.blog to recommendation_api;
grant select (blog_id, slug, is_current) on blogs.blog_slug to recommendation_api;
grant select (blog_id, total_likes) on blogs.blog_counter to recommendation_api;
grant select (followee_id, follower_id) on social.follow to recommendation_api;
grant select (blog_id, account_id, liked, version_us, applied_xid) on analytics.blog_like to recommendation_api;
grant select on analytics.blog_popularity, analytics.popularity_run to recommendation_api;
grant execute on function analytics.popularity_version(), analytics.half_life(text),
  analytics.popularity_at(double precision, timestamptz, interval) to recommendation_api;
grant select, insert, update (neighbour_ids, similarities), delete on recommend.neighbour to recommendation_api;
grant select, update (generation, applied_xid, as_of, built_at, wanted_since, next_xid, next_after_id, next_began_at)
  on recommend.progress to recommendation_api;
grant execute on function recommend.similarity(double precision, bigint, bigint),
  recommend.pairs_of(bigint[], bigint, bigint) to recommendation_api;

-- The Digest API, which only reads.
grant usage on schema blogs, social, analytics to digest_api;
grant select on blogs.live_blog, blogs.active_account to digest_api;
-- Verifying a token needs the epoch of its account and the time when the account was created.
grant select (id, handle, token_epoch, created_at) on blogs.account to digest_api;
grant select (id, title) on blogs.blog to digest_api;
grant select (followee_id, follower_id) on social.follow to digest_api;
grant select (blog_id, hour, views, likes, shares) on analytics.blog_hour to digest_api;

-- The console: numbers, why events were parked (not what they contain), and fan-outs. It changes nothing.
grant usage on schema analytics, notify to console;
grant select (n) on analytics.envelope_ledger to console;
grant select (dropped_n) on analytics.ledger_floor to console;
grant select (kind, outcome, n) on analytics.outcome to console;
grant select (kind, reason, sqlstate, first_seen_at, redriven_at, dropped_at) on analytics.parked to console;
grant select on analytics.equation to console;
grant execute on function analytics.is_waiting(timestamptz, timestamptz), analytics.busy_sessions() to console;
grant select (blog_id, state, turn_at, total, looked_at, notified, rows_per_s, created_at, ended_at)
  on notify.fan_out to console;

-- Operators may read everything except e-mail addresses, password hashes, inboxes, follows and the bodies that wait in the
-- outbox. They change data only through the owners' functions. They may read the bodies of parked events, because they decide
-- what happens to these.
grant usage on schema blogs, analytics, notify, recommend to operator;
grant select (id, handle, token_epoch, created_at, deleted_at, suspended_at) on blogs.account to operator;
-- The commands recognize an account id that was never given out, which is a mistake.
grant select on sequence blogs.account_id_seq to operator;
grant select on blogs.blog, blogs.blog_slug, blogs.tag, blogs.blog_tag, blogs.live_blog, blogs.blog_counter,
  blogs.active_account, blogs.export_request, blogs.open_export_request, blogs.export_record to operator;
grant select (id, routing_key, events, traceparent, created_at, claimed_until, attempts) on blogs.outbox to operator;
grant execute on function blogs.suspend_account(bigint), blogs.restore_account(bigint), blogs.undelete_account(bigint),
  blogs.take_down_blog(bigint), blogs.restore_blog(bigint), blogs.is_open_export(uuid, timestamptz),
  blogs.open_export(bigint), blogs.export_account(bigint), blogs.retire_account(bigint), blogs.erase_account(bigint),
  blogs.forget_unused_tags(), blogs.sample_again() to operator;
grant select on analytics.envelope_ledger, analytics.event_key, analytics.blog_view, analytics.blog_view_history,
  analytics.blog_like, analytics.blog_share, analytics.blog_hour, analytics.parked, analytics.outcome, analytics.ledger_floor,
  analytics.old_day, analytics.attempt, analytics.intake, analytics.blog_popularity, analytics.popularity_run,
  analytics.equation to operator;
grant execute on function analytics.is_waiting(timestamptz, timestamptz), analytics.counter_drift(bigint, integer),
  analytics.mend_counter(bigint), analytics.drop_parked(uuid, integer), analytics.export_account(bigint),
  analytics.erase_account(bigint), analytics.sample_again() to operator;
grant select on notify.fan_out to operator;
grant execute on function notify.pause_fan_out(bigint), notify.resume_fan_out(bigint), notify.cancel_fan_out(bigint),
  notify.seconds_left(text, bigint, bigint, double precision), notify.export_account(bigint), notify.erase_account(bigint)
  to operator;
grant select on recommend.neighbour, recommend.progress to operator;
