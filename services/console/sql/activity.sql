-- Returns the busy sessions of this database by role, without this session. Locks nothing.
select b.role, b.sessions from analytics.busy_sessions() b order by b.role
