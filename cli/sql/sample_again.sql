-- Samples anew, through the owners, where the planner's samples may name who was erased. Locks nobody out.
select blogs.sample_again(), analytics.sample_again()
