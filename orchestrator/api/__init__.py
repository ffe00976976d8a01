"""Litestar, thin: parse, authorize, call, encode. No rules live here."""
