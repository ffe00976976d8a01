"""Piccolo tables and migrations, session store and event log."""
