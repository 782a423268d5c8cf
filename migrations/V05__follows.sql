-- Who follows whom. Owner: Blogs.

set local role blogs_owner;

-- Both indexes are in an order in which follows are read: a fan-out and the list of followers walk the primary key, which
-- includes the time, so that the table is not visited. No foreign keys: each follow would lock the account's row.
create table social.follow (
  followee_id bigint not null,
  follower_id bigint not null,
  followed_at timestamptz not null default now(),
  check (followee_id <> follower_id),
  primary key (followee_id, follower_id) include (followed_at)
);
create index follow_by_follower on social.follow (follower_id, followee_id);

comment on table social.follow is 'One row a follow. Unfollowing deletes it; following again is a new row.';
comment on column social.follow.followee_id is 'The account that is followed.';
comment on column social.follow.follower_id is 'The account that follows.';
comment on column social.follow.followed_at is 'By the database''s clock. A blog that was published before is not announced to this follower.';

create table social.follow_counter (
  account_id bigint not null,
  slot smallint not null,
  followers bigint not null,
  following bigint not null,
  primary key (account_id, slot)
) with (fillfactor = 50, autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 5000);
alter table social.follow_counter alter column account_id set statistics 0;

comment on table social.follow_counter is
  'Counts of follows, exact as a sum. Spread over slots, so that followers of one account do not wait for each other.';
comment on column social.follow_counter.account_id is 'The account.';
comment on column social.follow_counter.slot is 'The backend''s process id modulo 16.';
comment on column social.follow_counter.followers is 'This slot''s part of its followers; can be negative.';
comment on column social.follow_counter.following is 'This slot''s part of the accounts that it follows; can be negative.';

-- Counts the follows that a statement inserted or deleted. Locks the counters of all accounts that the statement touches, in
-- the order of their ids.
create function social.count_follows() returns trigger
language plpgsql security definer set search_path = pg_catalog, pg_temp as $$
declare
  step integer := case tg_op when 'INSERT' then 1 else -1 end;
begin
  insert into social.follow_counter as c (account_id, slot, followers, following)
  select e.account_id, (pg_backend_pid() % 16)::smallint, sum(e.followers), sum(e.following)
  from (
    select changed.followee_id as account_id, step as followers, 0 as following from changed
    union all
    select changed.follower_id, 0, step from changed) as e
  group by e.account_id
  order by e.account_id
  on conflict (account_id, slot) do update
    set followers = c.followers + excluded.followers, following = c.following + excluded.following;
  return null;
end $$;
create trigger follow_inserted after insert on social.follow
  referencing new table as changed for each statement execute function social.count_follows();
create trigger follow_deleted after delete on social.follow
  referencing old table as changed for each statement execute function social.count_follows();

reset role;
