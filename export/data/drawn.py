"""Drawn frames: items of the synthetic generators, each with a scene of its own."""
