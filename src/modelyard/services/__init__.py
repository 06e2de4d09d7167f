"""AWS's operations, one method each."""
