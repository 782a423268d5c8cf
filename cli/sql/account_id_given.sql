-- Whether an account can have had this id. Locks nothing.
select $1::bigint between 1 and s.last_value and (s.is_called or $1::bigint < s.last_value) as is_given
from blogs.account_id_seq s
