-- Deletes tags that no blog has, through their owner. Locks the tags, so that no transaction can put one on a blog meanwhile.
select blogs.forget_unused_tags() as forgotten
