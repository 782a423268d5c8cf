-- Accounts, and what operators decide about them. Owner: Blogs.

set local role blogs_owner;

create table blogs.account (
  id bigint generated always as identity primary key,
  handle text not null unique check (handle ~ '^[a-z0-9](-?[a-z0-9]){1,29}$'),
  email text check (length(email) <= 254),
  password_hash text,
  token_epoch integer not null default 0,
  created_at timestamptz not null default now(),
  deleted_at timestamptz,
  suspended_at timestamptz,
  constraint account_forgotten check (
    (email is null) = (password_hash is null) and (email is not null or deleted_at is not null))
);
create unique index account_email on blogs.account (lower(email));
create index account_inactive on blogs.account (id) where deleted_at is not null or suspended_at is not null;
-- What is still to be forgotten, the oldest deletion first.
create index account_to_forget on blogs.account (deleted_at) where deleted_at is not null and password_hash is not null;

comment on table blogs.account is 'People who write, follow and like.';
comment on column blogs.account.id is 'Never given out twice.';
comment on column blogs.account.handle is 'The public name, in lower case. Stays taken after deletion.';
comment on column blogs.account.email is 'Null once a deleted account has forgotten it.';
comment on column blogs.account.password_hash is 'Null once a deleted account has forgotten it.';
comment on column blogs.account.token_epoch is
  'Raised by a new password, suspension and deletion. A token of a lower epoch is refused.';
comment on column blogs.account.created_at is 'When the account was created. A token that is older is refused.';
comment on column blogs.account.deleted_at is 'When the account was deleted. It can come back during the grace period.';
comment on column blogs.account.suspended_at is 'When an operator suspended the account; null if it is not suspended.';

-- The planner's samples are copies of values, and an emptied table keeps its samples. Columns that identify a person are not
-- sampled, in all schemas; each is found by a unique index or not searched.
alter table blogs.account
  alter column id set statistics 0, alter column handle set statistics 0, alter column email set statistics 0,
  alter column password_hash set statistics 0;
alter index blogs.account_email alter column 1 set statistics 0;

-- The one rule of which accounts may act. Not a security barrier: the planner must be able to look up one account in it.
create view blogs.active_account as
  select a.id from blogs.account a where a.deleted_at is null and a.suspended_at is null;
comment on view blogs.active_account is 'Accounts that may act: neither deleted nor suspended.';
comment on column blogs.active_account.id is 'The account.';

-- The complement. It is small, so a fan-out can leave these accounts out without reading all others.
create view blogs.inactive_account as
  select a.id from blogs.account a where a.deleted_at is not null or a.suspended_at is not null;
comment on view blogs.inactive_account is 'Accounts that may not act: deleted or suspended.';
comment on column blogs.inactive_account.id is 'The account.';

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
alter table blogs.idempotency_key
  alter column account_id set statistics 0, alter column key set statistics 0,
  alter column request_hash set statistics 0, alter column response set statistics 0;

comment on table blogs.idempotency_key is 'Answers that the API repeats to the same request, for a day.';
comment on column blogs.idempotency_key.account_id is 'The account that sent the request.';
comment on column blogs.idempotency_key.key is 'The Idempotency-Key of the request.';
comment on column blogs.idempotency_key.request_hash is 'A hash of the request. Another request under the same key is refused.';
comment on column blogs.idempotency_key.status is 'The HTTP status of the answer.';
comment on column blogs.idempotency_key.response is 'The body of the answer.';
comment on column blogs.idempotency_key.created_at is 'When the answer was given.';

-- Lets one process at a time forget old answers. The API asks for this one lock by name: a login role that may take any
-- advisory lock could fill the lock table that all databases of the server share.
create function blogs.turn_to_forget() returns boolean
language sql security definer set search_path = pg_catalog, pg_temp as $$
  select pg_try_advisory_xact_lock(hashtextextended('blogs.idempotency_forget', 0))
$$;

-- Hides an account's blogs and revokes its tokens. False if it is suspended already, or has forgotten its password.
create function blogs.suspend_account(wanted bigint) returns boolean
language sql security definer set search_path = pg_catalog, pg_temp as $$
  with changed as (
    update blogs.account set suspended_at = now(), token_epoch = token_epoch + 1
    where id = wanted and suspended_at is null and password_hash is not null
    returning 1)
  select exists (select from changed)
$$;

-- Ends a suspension. False if there is none. The account has to sign in again.
create function blogs.restore_account(wanted bigint) returns boolean
language sql security definer set search_path = pg_catalog, pg_temp as $$
  with changed as (
    update blogs.account set suspended_at = null
    where id = wanted and suspended_at is not null and password_hash is not null
    returning 1)
  select exists (select from changed)
$$;

-- Takes a deletion back. False if the account is not deleted, or has forgotten its password. Its tokens stay revoked.
create function blogs.undelete_account(wanted bigint) returns boolean
language sql security definer set search_path = pg_catalog, pg_temp as $$
  with changed as (
    update blogs.account set deleted_at = null
    where id = wanted and deleted_at is not null and password_hash is not null
    returning 1)
  select exists (select from changed)
$$;

-- Forgets address and password hash of accounts that were deleted more than `grace_days` ago, the oldest deletions first, at
-- most `most` at a time and 1000 at most. Returns how many. The handle stays taken. Locks these accounts and passes over
-- those that others hold; under the lock an account that came back is looked at again and left alone.
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

-- The first step of erasing: deletes the account, so that nothing is accepted or counted in its name, and forgets address
-- and password, so that signing in cannot bring it back. False if both are done already.
create function blogs.retire_account(wanted bigint) returns boolean
language sql security definer set search_path = pg_catalog, pg_temp as $$
  with changed as (
    update blogs.account
    set deleted_at = coalesce(deleted_at, now()), token_epoch = token_epoch + 1, email = null, password_hash = null
    where id = wanted and (deleted_at is null or password_hash is not null)
    returning 1)
  select exists (select from changed)
$$;

reset role;
