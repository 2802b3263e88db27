"""Several streams on one box: a session file, a plan for each stream, and one process for each plan."""
