"""The only door out of a sandbox: the model proxy."""
