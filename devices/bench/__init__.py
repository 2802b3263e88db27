"""Measurements that a device maker runs on their own box: paced playback, cold start, budgets, and their report."""
