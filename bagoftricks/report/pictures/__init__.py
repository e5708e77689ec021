"""Pictures of studies and of runs: pure functions of records and settings, in one style."""
