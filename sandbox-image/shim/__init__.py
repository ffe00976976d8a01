"""The shim: the small program in a sandbox that owns its one `ClaudeSDKClient`.

It turns what the control plane commands into calls of the Agent SDK, and what the agent says into
events on the link. Not for: rules. It believes nothing about who is asking; the slot's socket says.
"""
