"""The `.bedside` bundle: one canonical container, one strict manifest, verified bytes."""
