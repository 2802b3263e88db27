"""Models made elsewhere, and ours, brought to one form: pixels in, scores out."""
