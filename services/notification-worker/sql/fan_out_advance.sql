-- Moves a fan-out's cursor past the chunk that has just been inserted and puts the fan-out at the end of the queue, or
-- completes it after its last chunk. Locks that row.
update notify.fan_out
set after_id = case when $5::boolean then 0 else $2::bigint end,
    looked_at = looked_at + $3::bigint,
    notified = notified + $4::bigint,
    total = case when $5::boolean then looked_at + $3::bigint else greatest(total, looked_at + $3::bigint) end,
    rows_per_s = case
      when looked_at = 0 then 1.0
      else 0.2
    end * $3::bigint / greatest(extract(epoch from clock_timestamp() - turn_at)::double precision, 0.001)
      + case when looked_at = 0 then 0.0 else 0.8 end * rows_per_s,
    state = case when $5::boolean then 'done' else state end,
    ended_at = case when $5::boolean then clock_timestamp() end,
    turn_at = clock_timestamp()
where blog_id = $1::bigint
