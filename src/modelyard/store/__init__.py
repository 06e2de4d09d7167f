"""What lasts: resources with versions, objects, logs, published tables."""
