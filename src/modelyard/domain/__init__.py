"""Values and decisions: no clock, no I/O, no event loop."""
