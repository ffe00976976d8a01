"""What outlives a sandbox: its transcript and the checkpoints of its files."""
