"""Automatic scaling: what a target, a policy, a schedule and an alarm together decide. Pure; time is a parameter."""
