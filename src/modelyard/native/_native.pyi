"""What the C defines, for type checkers."""
