"""The child processes: one trains, one answers the playground, one does a single job; `jobs` starts them by name."""
