-- Makes a blog of account $1 that is published now and that no event tells of. Locks only the row it makes.
insert into blogs.blog (author_id, title, body, published_at, first_published_at)
values ($1::bigint, 'Through others', 'To be told of.', now(), now())
returning id, first_published_at
