"""Frames and channels between gateways, jobs and workers."""
