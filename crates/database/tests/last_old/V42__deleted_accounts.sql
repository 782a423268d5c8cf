-- A deleted account can come back for a while, and then forgets its e-mail address and its password. Owner: Blogs. Locks
-- `blogs.account` against every reader while the index of e-mail addresses is made.
set local role blogs_owner;

-- Both are null once the account has forgotten them, and nothing but a deleted account forgets.
alter table blogs.account
  alter column email drop not null,
  alter column password_hash drop not null,
  add constraint account_forgotten check (
    (email is null) = (password_hash is null) and (email is not null or deleted_at is not null));

-- Until now the address of a deleted account was free at once. Of several accounts with one address the one that is not deleted
-- keeps it, or else the one that was deleted last.
update blogs.account a
set email = null, password_hash = null
from (select id, row_number() over (partition by lower(email) order by deleted_at desc nulls first, id desc) as nth
      from blogs.account) ranked
where ranked.id = a.id and ranked.nth > 1;

-- An account that can come back keeps its address.
drop index blogs.account_email;
create unique index account_email on blogs.account (lower(email));
alter index blogs.account_email alter column 1 set statistics 0;
-- What is still to be forgotten, the oldest deletion first.
create index account_to_forget on blogs.account (deleted_at) where deleted_at is not null and password_hash is not null;

-- No statement of the Blogs API changes an address. Forgetting is the owner's.
revoke update (email) on blogs.account from blogs_api;

-- Forgets address and password hash of accounts that were deleted more than `grace_days` ago, the oldest deletions first, at
-- most `most` at a time and 1000 at most. Returns how many. The handle stays, so that no other account gets it. Locks those
-- accounts and passes over those that others hold. An account that came back before it was locked is looked at again under
-- the lock, and is left alone.
create function blogs.forget_deleted_accounts(grace_days integer, most integer) returns bigint
language sql strict security definer set search_path = pg_catalog, pg_temp as $$
  with due as materialized (
    select a.id
    from blogs.account a
    where a.deleted_at < now() - make_interval(days => greatest(grace_days, 1)) and a.password_hash is not null
    order by a.deleted_at
    limit least(most, 1000)
    for no key update skip locked),
  forgotten as (
    update blogs.account a
    set email = null, password_hash = null
    from due
    where a.id = due.id
    returning 1)
  select count(*) from forgotten
$$;
revoke execute on function blogs.forget_deleted_accounts(integer, integer) from public;
grant execute on function blogs.forget_deleted_accounts(integer, integer) to blogs_api;

-- Takes a deletion back. False if the account is not deleted, or has forgotten its password. Its tokens stay taken back.
create function blogs.undelete_account(wanted bigint) returns boolean
language sql security definer set search_path = pg_catalog, pg_temp as $$
  with changed as (
    update blogs.account set deleted_at = null
    where id = wanted and deleted_at is not null and password_hash is not null
    returning 1)
  select exists (select from changed)
$$;
revoke execute on function blogs.undelete_account(bigint) from public;
grant execute on function blogs.undelete_account(bigint) to operator;

-- As before, and also while an account is deleted and could come back: signing in must not undo what an operator decided.
create or replace function blogs.suspend_account(wanted bigint) returns boolean
language sql security definer set search_path = pg_catalog, pg_temp as $$
  with changed as (
    update blogs.account set suspended_at = now(), token_epoch = token_epoch + 1
    where id = wanted and suspended_at is null and password_hash is not null
    returning 1)
  select exists (select from changed)
$$;

create or replace function blogs.restore_account(wanted bigint) returns boolean
language sql security definer set search_path = pg_catalog, pg_temp as $$
  with changed as (
    update blogs.account set suspended_at = null
    where id = wanted and suspended_at is not null and password_hash is not null
    returning 1)
  select exists (select from changed)
$$;

-- As before, and the account forgets at once: signing in must not bring back an account that is being erased.
create or replace function blogs.retire_account(wanted bigint) returns boolean
language sql security definer set search_path = pg_catalog, pg_temp as $$
  with changed as (
    update blogs.account
    set deleted_at = coalesce(deleted_at, now()), token_epoch = token_epoch + 1, email = null, password_hash = null
    where id = wanted and (deleted_at is null or password_hash is not null)
    returning 1)
  select exists (select from changed)
$$;

-- Operators name an account by its id after it was erased: an id that was never given out is a mistake.
grant select on sequence blogs.account_id_seq to operator;

reset role;

set local role notify_owner;

-- As before, for ids that accounts can have: 0 is the cursor of every fan-out that has not begun.
create or replace function notify.erase_account(wanted bigint) returns void
language plpgsql security definer set search_path = pg_catalog, pg_temp as $$
begin
  if wanted is null or wanted < 1 then
    raise exception 'no account has the id %', wanted using errcode = '22023';
  end if;
  perform from notify.fan_out f where f.after_id = wanted order by f.blog_id for no key update;
  update notify.fan_out set after_id = wanted - 1 where after_id = wanted;
  perform from notify.notification n where n.recipient_id = wanted order by n.published_at, n.blog_id for update;
  delete from notify.notification where recipient_id = wanted;
end $$;

reset role;
