-- Runs deferred constraints now. Takes the locks that they take.
set constraints all immediate
