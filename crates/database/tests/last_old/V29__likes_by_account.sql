-- The newest likes are found by account as well, so the index by account alone is not needed any more. A migration of its own: the
-- lock that it takes on likes, against everybody, is the only one here, so it waits for nobody who waits for it.
set local role analytics_owner;

drop index analytics.blog_like_by_account;

reset role;
