-- Who may do what. A service's role holds the columns that its SQL names and nothing else; `contract check`
-- proves that this is enough, and a test that it is not more.

set local role blogs_owner;

-- The Blogs API: its own tables, without DELETE but where rows are meant to go, without TRUNCATE anywhere.
grant select, insert on blogs.account to blogs_api;
grant update (email, password_hash, token_epoch, deleted_at) on blogs.account to blogs_api;
grant select, insert on blogs.blog to blogs_api;
grant update (title, body, version, updated_at, published_at, first_published_at, deleted_at) on blogs.blog to blogs_api;
grant select, insert, update (is_current) on blogs.blog_slug to blogs_api;
grant select, insert on blogs.tag to blogs_api;
grant select, insert, delete on blogs.blog_tag to blogs_api;
grant select on blogs.live_blog to blogs_api;
grant select, insert on blogs.blog_counter to blogs_api;
grant select, insert, delete, update (claimed_until, attempts) on blogs.outbox to blogs_api;
grant select, insert, delete on blogs.idempotency_key to blogs_api;

-- Whoever writes engagement: the Analytics workers, and the Blogs API where the direct path is enabled.
grant select (id) on blogs.live_blog to engagement_writer;
grant select, update (total_views, total_likes, total_shares) on blogs.blog_counter to engagement_writer;

-- Operators look: at everything but e-mail, password hash and what waits in the outbox. Of what was parked they must
-- see the body to decide about it.
grant select (id, handle, token_epoch, created_at, deleted_at) on blogs.account to operator;
grant select on blogs.blog, blogs.blog_slug, blogs.tag, blogs.blog_tag, blogs.live_blog, blogs.blog_counter to operator;
grant select (id, routing_key, events, traceparent, created_at, claimed_until, attempts) on blogs.outbox to operator;

reset role;

set local role analytics_owner;

grant select, insert on analytics.envelope_ledger, analytics.event_key to engagement_writer;
grant select, insert on analytics.blog_view, analytics.blog_view_history to engagement_writer;
grant select, insert, update (liked, was_liked, version_us, version_id) on analytics.blog_like to engagement_writer;
grant select, insert, update (shares) on analytics.blog_share to engagement_writer;
grant select, insert, update (views, likes, unlikes, shares) on analytics.blog_hour to engagement_writer;
grant select, insert, update (attempts) on analytics.parked to engagement_writer;
grant select, insert, update (n) on analytics.outcome to engagement_writer;
grant execute on function analytics.create_day(text, date) to engagement_writer;

grant select on analytics.ledger_floor to analytics_worker;
grant execute on function analytics.raise_floor(date), analytics.oldest_day(text), analytics.drop_day(text, date),
  analytics.forget_event_keys(integer) to analytics_worker;

grant select on analytics.blog_hour to blogs_api;

grant select on all tables in schema analytics to operator;

reset role;
