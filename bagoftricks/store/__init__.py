"""Records, leases and checkpoints on disk."""
