-- The text that lets the Blogs API write engagement itself, or takes that from it. Locks nothing.
select case when $1::boolean then 'grant engagement_writer to blogs_api'
            else 'revoke engagement_writer from blogs_api' end
