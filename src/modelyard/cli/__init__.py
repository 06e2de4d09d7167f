"""The commands; they talk to the public API like any client."""
