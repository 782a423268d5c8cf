-- Makes about 60 MB of pages dirty. Locks nothing.
insert into public.ballast (filling)
select repeat(md5(n::text), 60) from generate_series(1, 28000) as n
