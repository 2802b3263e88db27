"""Training: objectives, batches, loops, and a state on disk that survives a kill."""
