"""Labelled data sets: found, grouped, split, read through the device's own preprocessing."""
