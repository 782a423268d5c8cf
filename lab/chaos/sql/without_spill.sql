-- A negative control: nothing can be spilled.
revoke insert on blogs.outbox from blogs_api
