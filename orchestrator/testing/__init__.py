"""Shipped fakes: the scripted model, the fake sandbox and the contract suites."""
