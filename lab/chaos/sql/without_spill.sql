-- A negative control: the outbox refuses every envelope.
revoke insert on blogs.outbox from blogs_api
