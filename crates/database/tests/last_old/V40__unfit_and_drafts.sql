-- Parked events that say nothing about the worker that parked them, and addresses that say nothing about drafts.

set local role analytics_owner;

-- True where the message itself is the reason: it cannot be read, its time lies outside the days that can be counted, or
-- the broker gave it up. The rule that stops workers counts the other parked events. A worker of an older release leaves
-- the default, and so stops as it did.
alter table analytics.parked add column unfit boolean not null default false;
create index parked_refused on analytics.parked (first_seen_at)
  where redriven_at is null and dropped_at is null and not unfit;

reset role;

set local role blogs_owner;

-- A blog that was never published has no address from its title, or who publishes under that title would learn that it is
-- taken. Its address is made of its id; if another blog has that one by an odd title, of random bits as well.
delete from blogs.blog_slug s
using blogs.blog b
where b.id = s.blog_id and b.first_published_at is null and not s.is_current;
update blogs.blog_slug s
set slug = 'draft-' || b.id || case
  when exists (select from blogs.blog_slug o where o.slug = 'draft-' || b.id) then
    '-' || substr(md5(gen_random_uuid()::text), 1, 8)
  else '' end
from blogs.blog b
where b.id = s.blog_id and b.first_published_at is null and s.is_current;

reset role;
