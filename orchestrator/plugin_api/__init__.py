"""All that a plugin may build on.

Copied into the sandbox image, where plugins run: nothing here imports more than the protocol does.
"""
