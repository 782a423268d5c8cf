-- Begins the transaction of one migration. Locks nothing.
begin
