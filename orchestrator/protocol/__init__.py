"""What crosses a process border: between browser, control plane and sandbox.

For: frozen msgspec structs, the codecs of the wires and the outbox; imported by both ends, and
copied into the sandbox image. Not for: rules, input or output. It imports msgspec and the standard
library only.
"""
