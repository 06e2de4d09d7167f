"""Batch work that runs in a process of its own."""
