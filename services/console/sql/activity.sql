-- Sessions of this database that are executing something at this moment, by role, without this one. Locks nothing.
select b.role, b.sessions from analytics.busy_sessions() b order by b.role
