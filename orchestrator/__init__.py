"""Casemate: every conversation with Claude in a container of its own."""

__version__ = "0.1.0"
