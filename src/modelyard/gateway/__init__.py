"""Admission, routing and forwarding of everything that arrives on the one port."""
