"""All sessions of this control plane: which are in memory, and how they start and rest together."""
