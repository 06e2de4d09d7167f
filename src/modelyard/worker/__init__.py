"""Drain, predict, answer."""
