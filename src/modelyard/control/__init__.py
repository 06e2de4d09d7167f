"""Reconcilers: from what was asked for to what is."""
