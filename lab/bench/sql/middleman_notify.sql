-- Inserts the notifications of one request, for the middleman's POST; a retry after a lost answer is safe. Locks the new rows
-- only.
insert into notify.notification (recipient_id, published_at, blog_id)
select r.recipient_id, $2::timestamptz, $3::bigint
from unnest($1::bigint[]) as r (recipient_id)
order by r.recipient_id
on conflict do nothing
