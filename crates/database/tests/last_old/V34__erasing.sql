-- Erasing an account beside everything else that goes on. Owner: Blogs.
set local role blogs_owner;

-- Forgetting old answers locks them first and passes over those that are locked, so that it never waits while it holds
-- some. `for update` asks for the privilege to update one column; no statement changes it.
grant update (created_at) on blogs.idempotency_key to blogs_api;

-- As before, in another order. The outbox is searched after the follows are locked: a follower that ends its follow of
-- the account holds the row of the follow until the event of that is committed, and is waited for. Locks the account, its
-- blogs, the follows, then the kept answers, in key order each.
create or replace function blogs.erase_account(wanted bigint) returns void
language plpgsql security definer set search_path = pg_catalog, pg_temp as $$
declare
  owned bigint[];
  waiting text;
begin
  perform from blogs.account where id = wanted for update;
  if exists (select from blogs.account a where a.id = wanted and a.deleted_at is null) then
    raise exception 'account % is not deleted', wanted using errcode = '55000';
  end if;
  perform from blogs.blog where author_id = wanted order by id for update;
  perform from social.follow f
  where f.followee_id = wanted or f.follower_id = wanted
  order by f.followee_id, f.follower_id
  for update;
  select string_agg(distinct o.routing_key, ', ') into waiting
  from blogs.outbox o
  where blogs.names_account(o.body, wanted)
     or (o.routing_key in ('account.followed', 'account.unfollowed')
         and encode(o.body, 'escape') ~ format('"subject"\s*:\s*"%s"', wanted));
  if waiting is not null then
    raise exception 'the outbox still holds an envelope of account % (%)', wanted, waiting using errcode = '55006';
  end if;
  delete from social.follow where followee_id = wanted or follower_id = wanted;
  delete from social.follow_counter where account_id = wanted;
  select coalesce(array_agg(id order by id), '{}') into owned from blogs.blog where author_id = wanted;
  update blogs.blog
  set author_id = null, title = 'erased', body = '', source_path = null, deleted_at = coalesce(deleted_at, now()),
      version = version + 1
  where id = any (owned);
  delete from blogs.blog_tag where blog_id = any (owned);
  delete from blogs.blog_slug where blog_id = any (owned);
  perform from blogs.idempotency_key k where k.account_id = wanted order by k.key for update;
  delete from blogs.idempotency_key where account_id = wanted;
  delete from blogs.account where id = wanted;
end $$;

reset role;
