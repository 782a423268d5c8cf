-- The text that grants or revokes the Blogs API's right to write engagement itself. Locks nothing.
select case when $1::boolean then 'grant engagement_writer to blogs_api'
            else 'revoke engagement_writer from blogs_api' end
