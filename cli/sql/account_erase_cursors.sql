-- Removes an erased account from the cursors of fan-outs, where a chunk that still saw its follows may have put it. Locks
-- those fan-outs in the order of their ids.
select notify.erase_account($1::bigint)
