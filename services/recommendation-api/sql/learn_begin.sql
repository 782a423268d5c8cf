-- Returns the progress of learning and the transaction id below which all changes are visible. Locks the progress row,
-- skipping it while another process learns.
select p.generation, p.applied_xid, p.next_after_id, p.next_xid, p.wanted_since is not null as is_wanted,
       p.built_at is null or p.built_at < now() - make_interval(secs => $1::double precision) as is_due,
       pg_snapshot_xmin(pg_current_snapshot())::text::bigint as horizon_xid
from recommend.progress p
for no key update skip locked
