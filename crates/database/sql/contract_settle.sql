-- Checks deferred constraints now. Takes the locks that these checks need.
set constraints all immediate
