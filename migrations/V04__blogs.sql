-- Blogs, their addresses, tags and counters, and the outbox. Owner: Blogs.

set local role blogs_owner;

create table blogs.blog (
  id bigint generated always as identity primary key,
  author_id bigint references blogs.account,
  title text not null check (length(title) between 1 and 200),
  body text not null check (octet_length(body) <= 262144),
  version integer not null default 1,
  created_at timestamptz not null default now(),
  updated_at timestamptz not null default now(),
  published_at timestamptz,
  first_published_at timestamptz,
  deleted_at timestamptz,
  taken_down_at timestamptz,
  source_path text check (octet_length(source_path) between 1 and 1024),
  constraint blog_author check (author_id is not null or deleted_at is not null)
);
-- The lists of the API, newest first by keyset.
create index blog_newest on blogs.blog (published_at desc, id desc) where deleted_at is null and published_at is not null;
create index blog_by_author on blogs.blog (author_id, published_at desc, id desc) where deleted_at is null;
create index blog_author on blogs.blog (author_id);
create unique index blog_source_path on blogs.blog (source_path) where source_path is not null;
create index blog_first_publishing on blogs.blog (first_published_at desc, id desc)
  where first_published_at is not null and deleted_at is null;
-- author_id is sampled, because plans need it: `sample_again` takes the samples again without erased accounts.
alter table blogs.blog
  alter column title set statistics 0, alter column body set statistics 0, alter column source_path set statistics 0;

comment on table blogs.blog is 'Blogs. Deleting keeps the row; erasing the author empties it, so that counters still add up.';
comment on column blogs.blog.id is 'Never given out twice.';
comment on column blogs.blog.author_id is 'The account that wrote it; null once that account is erased.';
comment on column blogs.blog.title is 'Plain text.';
comment on column blogs.blog.body is 'Markdown.';
comment on column blogs.blog.version is 'The ETag: raised by every edit that readers see. Counters do not change it.';
comment on column blogs.blog.created_at is 'When the draft was created.';
comment on column blogs.blog.updated_at is 'When the author last edited it.';
comment on column blogs.blog.published_at is 'When it was last published; null for a draft.';
comment on column blogs.blog.first_published_at is 'Kept when the blog is unpublished and published again: followers are notified once.';
comment on column blogs.blog.deleted_at is 'When the author deleted it.';
comment on column blogs.blog.taken_down_at is 'When an operator hid it; the author cannot undo that.';
comment on column blogs.blog.source_path is 'For an imported blog: its path on the old site, by which imported views find it.';

create table blogs.blog_slug (
  slug text primary key check (length(slug) between 1 and 120),
  blog_id bigint not null references blogs.blog,
  is_current boolean not null
);
create unique index blog_slug_current on blogs.blog_slug (blog_id) where is_current;
alter table blogs.blog_slug alter column slug set statistics 0;

comment on table blogs.blog_slug is
  'Every address that a blog has had. Older ones redirect to the current one. A draft''s address comes from its id: one from its title would show whether the title is taken.';
comment on column blogs.blog_slug.slug is 'The last part of the URL.';
comment on column blogs.blog_slug.blog_id is 'The blog that it leads to.';
comment on column blogs.blog_slug.is_current is 'True for the one address that is shown.';

create table blogs.tag (
  id bigint generated always as identity primary key,
  name text not null unique check (name ~ '^[a-z0-9](-?[a-z0-9]){0,39}$')
);
alter table blogs.tag alter column name set statistics 0;

comment on table blogs.tag is 'Tags that authors use.';
comment on column blogs.tag.id is 'The tag.';
comment on column blogs.tag.name is 'In lower case.';

create table blogs.blog_tag (
  tag_id bigint not null references blogs.tag,
  blog_id bigint not null references blogs.blog,
  primary key (tag_id, blog_id)
);
create index blog_tag_by_blog on blogs.blog_tag (blog_id);

comment on table blogs.blog_tag is 'Which blog has which tags.';
comment on column blogs.blog_tag.tag_id is 'The tag.';
comment on column blogs.blog_tag.blog_id is 'The blog.';

-- The one rule of what is live: every service asks this view. It runs with its owner's rights, so that a service needs
-- SELECT on these columns and on nothing behind them.
create view blogs.live_blog with (security_barrier = true) as
  select b.id, b.author_id, b.published_at, b.first_published_at
  from blogs.blog b
  join blogs.active_account a on a.id = b.author_id
  where b.deleted_at is null and b.published_at is not null and b.taken_down_at is null;
comment on view blogs.live_blog is 'Blogs that readers see.';
comment on column blogs.live_blog.id is 'The blog.';
comment on column blogs.live_blog.author_id is 'Its author.';
comment on column blogs.live_blog.published_at is 'When it was last published.';
comment on column blogs.live_blog.first_published_at is 'When it was first published: followers of that moment are notified.';

-- Not a security barrier: the planner must be able to walk through it in the order of its index, without the tables.
create view blogs.first_publishing as
  select b.id, b.first_published_at
  from blogs.blog b
  where b.first_published_at is not null and b.deleted_at is null;
comment on view blogs.first_publishing is 'When blogs were first published. Whether readers see them is asked of live_blog.';
comment on column blogs.first_publishing.id is 'The blog.';
comment on column blogs.first_publishing.first_published_at is 'When it was first published.';

grant select (first_published_at) on blogs.first_publishing to notify_owner;

-- Half of each page stays free and no counter is indexed, so that an update needs no index entry and stays on its page (HOT).
-- Vacuum is due by count, not by share: a few hot rows make many dead ones.
create table blogs.blog_counter (
  blog_id bigint primary key references blogs.blog,
  total_views bigint not null default 0,
  total_likes bigint not null default 0,
  total_shares bigint not null default 0
) with (fillfactor = 50, autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 5000);

comment on table blogs.blog_counter is
  'The totals of each blog, apart from the wide blog row, so that an edit never waits for a counter.';
comment on column blogs.blog_counter.blog_id is 'The blog.';
comment on column blogs.blog_counter.total_views is 'Equals the sum of analytics.blog_hour.views.';
comment on column blogs.blog_counter.total_likes is 'Equals the number of liked rows in analytics.blog_like.';
comment on column blogs.blog_counter.total_shares is 'Equals the sum of analytics.blog_share.shares.';

-- For mending counters.
grant select, update (total_views, total_likes, total_shares) on blogs.blog_counter to analytics_owner;

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
alter table blogs.outbox alter column body set statistics 0;

comment on table blogs.outbox is
  'Envelopes to publish, written in the transaction of the change that they announce. The relay publishes them in the order of their ids and deletes them.';
comment on column blogs.outbox.id is 'A UUIDv7, and the id of the message.';
comment on column blogs.outbox.routing_key is 'Under which key the message is published.';
comment on column blogs.outbox.events is 'How many events the envelope contains.';
comment on column blogs.outbox.body is 'The message.';
comment on column blogs.outbox.traceparent is 'The trace that it belongs to.';
comment on column blogs.outbox.created_at is 'When it was written.';
comment on column blogs.outbox.claimed_until is 'The end of the lease of the relay that publishes it.';
comment on column blogs.outbox.attempts is 'How often a relay has claimed it.';

-- To keep a day of the ledger while an envelope of that day waits here.
grant select (id) on blogs.outbox to analytics_owner;

-- Hides a blog. False if it is hidden or deleted already.
create function blogs.take_down_blog(wanted bigint) returns boolean
language sql security definer set search_path = pg_catalog, pg_temp as $$
  with changed as (
    update blogs.blog set taken_down_at = now(), version = version + 1
    where id = wanted and taken_down_at is null and deleted_at is null
    returning 1)
  select exists (select from changed)
$$;

-- Shows a blog again. False if it was not hidden.
create function blogs.restore_blog(wanted bigint) returns boolean
language sql security definer set search_path = pg_catalog, pg_temp as $$
  with changed as (
    update blogs.blog set taken_down_at = null, version = version + 1
    where id = wanted and taken_down_at is not null and deleted_at is null
    returning 1)
  select exists (select from changed)
$$;

-- Forgets tags that no blog has, such as those that only an erased author used; in a transaction of its own. Locks the
-- table against writers of tags, not against readers.
create function blogs.forget_unused_tags() returns bigint
language plpgsql security definer set search_path = pg_catalog, pg_temp as $$
declare
  forgotten bigint;
begin
  lock table blogs.tag in share row exclusive mode;
  delete from blogs.tag t where not exists (select from blogs.blog_tag bt where bt.tag_id = t.id);
  get diagnostics forgotten = row_count;
  return forgotten;
end $$;

reset role;
