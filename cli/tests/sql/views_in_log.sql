-- The views that are in the lines of a log ($1), by site ($3) and path, as Postgres reads it, with its own regular
-- expressions and times. Every request is a view, or, with a window of $2 seconds, every visitor in it. With $4 robots
-- are left out: the words below match all robots among the agents of this one log. Locks nothing.
with line as (
  select regexp_match(
    text, '^(\S+) \S+ \S+ \[([^]]+)\] "GET ((?:[^"\\]|\\.)*)" (?:200|304) (?:\d+|-) "(?:[^"\\]|\\.)*" "((?:[^"\\]|\\.)*)"'
  ) as part
  from unnest($1::text[]) as text
), request as (
  select
    part[1] as address,
    to_timestamp(part[2], 'DD/Mon/YYYY:HH24:MI:SS TZHTZM') as at,
    regexp_replace(regexp_replace(part[3], ' HTTP/[0-9.]+$', ''), '[?#].*$', '') as path,
    part[4] as agent
  from line
  where part is not null
)
select
  $3::text || path as source_path,
  case
    when $2::bigint = 0 then count(*)
    else count(distinct (
      address, agent, date_bin(make_interval(secs => nullif($2::bigint, 0)), at, timestamptz '2000-01-01 00:00:00+00')
    ))
  end as views
from request
where path ~ '^/(blog|articles|presentations|projects)/' and path ~* '/([^/.]*|[^/]*\.(html|xhtml|htm|php))$'
  and not ($4::boolean and agent ~* 'bot|crawl|spider|slurp|feed|tiny tiny rss|reader|fetcher|archive|https?:/|curl|wget'
    '|python|ezooms|facebook|embed|nutch|binlar|daum|validator|sleuth|phantom|explorer.info|favicon|@|simplepie|preview|proxy|libwww-perl')
group by path
