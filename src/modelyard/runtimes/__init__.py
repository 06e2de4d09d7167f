"""Where workers and jobs run, behind one small Protocol."""
