"""Model formats: archives, loaders, decoding of bodies, encoding of answers."""
