-- What authors own: accounts, blogs, their addresses and tags. Owner: Blogs.

set local role blogs_owner;

create table blogs.account (
  id bigint generated always as identity primary key,
  -- Lower case; the API refuses anything but [a-z0-9-]. Never given away again, even after deletion.
  handle text not null unique check (handle ~ '^[a-z0-9](-?[a-z0-9]){1,29}$'),
  email text not null check (length(email) <= 254),
  password_hash text not null,
  -- Raised by a new password and by deletion; a token made under a lower epoch is no longer honoured.
  token_epoch integer not null default 0,
  created_at timestamptz not null default now(),
  deleted_at timestamptz
);
create unique index account_email on blogs.account (lower(email)) where deleted_at is null;

create table blogs.blog (
  id bigint generated always as identity primary key,
  author_id bigint not null references blogs.account,
  title text not null check (length(title) between 1 and 200),
  -- Markdown.
  body text not null check (octet_length(body) <= 262144),
  -- Raised by every edit of what a reader sees; the ETag. Counters do not touch it.
  version integer not null default 1,
  created_at timestamptz not null default now(),
  updated_at timestamptz not null default now(),
  published_at timestamptz,
  -- Kept through unpublish and publish: a follower is told once.
  first_published_at timestamptz,
  -- The deletion practice: rows stay, and this says that the blog is gone.
  deleted_at timestamptz
);
-- The lists of the API, newest first by keyset.
create index blog_newest on blogs.blog (published_at desc, id desc) where deleted_at is null and published_at is not null;
create index blog_by_author on blogs.blog (author_id, published_at desc, id desc) where deleted_at is null;

-- Every address that a blog ever had. The current one is shown, older ones redirect to it.
create table blogs.blog_slug (
  slug text primary key check (length(slug) between 1 and 120),
  blog_id bigint not null references blogs.blog,
  is_current boolean not null
);
create unique index blog_slug_current on blogs.blog_slug (blog_id) where is_current;

create table blogs.tag (
  id bigint generated always as identity primary key,
  name text not null unique check (name ~ '^[a-z0-9](-?[a-z0-9]){0,39}$')
);

create table blogs.blog_tag (
  tag_id bigint not null references blogs.tag,
  blog_id bigint not null references blogs.blog,
  primary key (tag_id, blog_id)
);
create index blog_tag_by_blog on blogs.blog_tag (blog_id);

-- The one rule of what is live. Every service asks this view; nobody writes the condition again. It runs with
-- its owner's rights, so that a service needs SELECT on these columns and on nothing behind them.
create view blogs.live_blog with (security_barrier = true) as
  select b.id, b.author_id, b.published_at
  from blogs.blog b
  join blogs.account a on a.id = b.author_id
  where b.deleted_at is null and b.published_at is not null and a.deleted_at is null;

-- One narrow row a blog. Half of each page stays free and no counter is indexed, so that an update is written
-- beside the old version (HOT): no index is touched, the wide blog row is never rewritten, and an author's edit
-- never waits for a counter. Vacuum comes by count, not by share: a few hot rows make many dead ones.
create table blogs.blog_counter (
  blog_id bigint primary key references blogs.blog,
  total_views bigint not null default 0,
  total_likes bigint not null default 0,
  total_shares bigint not null default 0
) with (fillfactor = 50, autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 5000);

-- Envelopes that wait to be published: written in the transaction of the change they tell of, emptied by the
-- relay in order of age (the id is time-ordered). A claim is a lease, not a lock.
create table blogs.outbox (
  id uuid primary key,
  routing_key text not null,
  events integer not null check (events > 0),
  body bytea not null,
  traceparent text,
  created_at timestamptz not null default now(),
  claimed_until timestamptz,
  attempts integer not null default 0
) with (autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 1000);

-- Answers that are given again to the same request, for a day.
create table blogs.idempotency_key (
  account_id bigint not null references blogs.account,
  key text not null check (length(key) between 1 and 128),
  request_hash bytea not null,
  status smallint not null,
  response jsonb not null,
  created_at timestamptz not null default now(),
  primary key (account_id, key)
);
create index idempotency_key_age on blogs.idempotency_key (created_at);

reset role;
