"""What every room may use: clock, ids, ARNs, errors, log, settings, failpoints."""
