"""What happened in a session: one closed union, from the sandbox's outbox to the browser's reducer.

A sandbox says the one half (`sandbox_events`), the control plane the other (`control_events`). Both
go through the event log and carry the session's `seq` to the browser. An event that is `TRANSIENT`
is streamed but not logged: a later durable one holds all it said.
"""

from orchestrator.protocol.control_events import ControlEvent
from orchestrator.protocol.sandbox_events import (
    BlockDelta,
    CliStderr,
    ContextMeasured,
    MemoryMeasured,
    SandboxEvent,
    StatusReported,
    StorageMeasured,
)
from orchestrator.protocol.wire import Codec

Event = SandboxEvent | ControlEvent

TRANSIENT = (
    BlockDelta,
    StatusReported,
    ContextMeasured,
    MemoryMeasured,
    StorageMeasured,
    CliStderr,
)
"""Streamed, never logged."""

event_codec: Codec[Event] = Codec(Event)
