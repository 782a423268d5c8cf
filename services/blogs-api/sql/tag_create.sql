-- Creates the tags in this list that do not exist yet, in the order of their names. Locks the new rows. Also locks the
-- table, until the end of the transaction, against operators who delete unused tags.
insert into blogs.tag (name)
select wanted.name
from unnest($1::text[]) as wanted (name)
where not exists (select from blogs.tag t where t.name = wanted.name)
order by wanted.name
on conflict (name) do nothing
