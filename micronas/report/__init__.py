"""Pages that show runs: one file each, which loads nothing."""
