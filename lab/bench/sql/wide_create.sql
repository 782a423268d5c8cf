-- A table of blogs with the counter in the blog's own row: the same columns and indexes, and one more column.
create table public.wide_blog (
  like blogs.blog including defaults including constraints including indexes,
  total_views bigint not null default 0
)
