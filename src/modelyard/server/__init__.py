"""The composition root: settings, wiring, start and stop of each process."""
