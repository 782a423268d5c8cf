-- The pages say to a reader whether they like a blog: the Blogs API may look that up, and nothing else of a like.

set local role analytics_owner;

grant select (blog_id, account_id, liked) on analytics.blog_like to blogs_api;

reset role;
