"""Self-contained pages of studies and runs, from records alone."""
