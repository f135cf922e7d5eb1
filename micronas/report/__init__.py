"""Report pages of runs: one file each, which loads nothing."""
