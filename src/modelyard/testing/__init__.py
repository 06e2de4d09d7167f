"""Fakes, a manual clock and a platform for tests."""
