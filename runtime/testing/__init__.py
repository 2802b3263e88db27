"""Doubles for users' tests: sources out of memory, sessions that answer as told. See also `clock.ManualClock`."""
