"""The egress proxy: what a sandbox may reach beside the model, and nothing else."""
