-- Raises the token epoch of every account by $1, so that no token issued before is valid. Locks all accounts.
update blogs.account set token_epoch = token_epoch + $1::integer
