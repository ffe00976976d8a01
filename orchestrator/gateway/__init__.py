"""The gateway: the only door out of a sandbox, one unix socket per slot.

For: letting a claimed sandbox talk to the model API, and to nothing else, with a key that it never
sees, and counting what that costs. Not for: deciding who may have a session, or what is remembered
of one.
"""
