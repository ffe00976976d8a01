"""The ids that cross a border. All are opaque strings; who is calling is never read from one."""

from typing import NewType

SessionId = NewType("SessionId", str)
SandboxId = NewType("SandboxId", str)
SlotId = NewType("SlotId", str)
TurnId = NewType("TurnId", str)
ClientId = NewType("ClientId", str)
"""Made by the client, one per command: sent twice, a prompt runs once."""
PermissionId = NewType("PermissionId", str)
QuestionId = NewType("QuestionId", str)
UserId = NewType("UserId", str)
ProfileName = NewType("ProfileName", str)
