"""The rules: session states, conversation, room and the ports through which they reach the
world."""
