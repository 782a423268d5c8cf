-- Sets the counters of a blog to what they count, through their owners. Locks that blog's counters.
select analytics.mend_counter($1::bigint) as was_mended
