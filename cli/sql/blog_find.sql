-- A blog by its id, in any state. Locks nothing.
select b.id, b.title, b.taken_down_at, b.deleted_at
from blogs.blog b
where b.id = $1::bigint
