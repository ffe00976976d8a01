"""The broker: the process that alone talks to Docker and touches slots, and how it is reached.

The control plane imports `client` and `child`; `process` and what it is made of run beside it.
"""
