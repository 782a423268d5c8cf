-- Raises the token epoch of every account by $1, so that no token counts which was issued before. Locks all accounts.
update blogs.account set token_epoch = token_epoch + $1::integer
