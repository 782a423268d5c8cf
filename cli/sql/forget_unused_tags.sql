-- Forgets tags that no blog has, through their owner. Locks them in key order.
select blogs.forget_unused_tags() as forgotten
