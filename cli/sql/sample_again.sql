-- Runs ANALYZE again, through the owners, on tables whose samples may name erased accounts. Blocks no reader or writer.
select blogs.sample_again(), analytics.sample_again()
