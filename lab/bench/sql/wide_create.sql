-- A table of blogs that holds the counter in the row of the blog itself: the same columns and indexes, and one more column.
create table public.wide_blog (
  like blogs.blog including defaults including constraints including indexes,
  total_views bigint not null default 0
)
