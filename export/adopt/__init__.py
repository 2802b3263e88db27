"""Models made elsewhere, and ours, brought to one form: pixels in, what their task needs out."""
