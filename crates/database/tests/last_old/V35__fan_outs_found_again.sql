-- A fan-out does not depend on its event: Notification workers walk through the blogs and find those whose followers are still
-- to be told. Owner: Blogs for the view and its index. Locks blogs against writes while the index is made.
set local role blogs_owner;

-- The moments at which blogs were first published, and nothing else of them. Whether readers see a blog is asked of live_blog
-- alone. Not a security barrier: the planner must be able to walk through it in the order of its index, without the tables.
create view blogs.first_publishing as
  select b.id, b.first_published_at
  from blogs.blog b
  where b.first_published_at is not null and b.deleted_at is null;
create index blog_first_publishing on blogs.blog (first_published_at desc, id desc)
  where first_published_at is not null and deleted_at is null;

grant select on blogs.first_publishing to notification_worker;

reset role;

set local role notify_owner;

-- The walk finds withdrawn fan-outs by their blogs.
drop index notify.fan_out_withdrawn;

reset role;
