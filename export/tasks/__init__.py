"""Tasks at export: what the truth of a frame is, how an answer is read, and how it is marked."""
