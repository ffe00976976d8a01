"""The bounds that the rules keep. Each says its unit and its reason."""

import msgspec

MIB = 1 << 20


class SessionLimits(msgspec.Struct, frozen=True, kw_only=True):
    """What one session, one follower and one user may take up."""

    max_open_per_user: int = 50
    """Sessions that are not over yet. Above it a user waits for their own sessions, not others."""
    max_queued_prompts: int = 20
    """Prompts that wait in one session. A person does not plan further ahead; a script would."""
    max_queued_bytes: int = 2 * MIB
    """Of all prompts that wait in one session together: every browser is shown them."""
    max_open_questions: int = 64
    """Permissions and questions open at once in one session. Agents and their subagents ask a few;
    a sandbox that asks more misbehaves and is given up."""
    log_bytes: int = 1024 * MIB
    """What a session's sandbox may have written into the event log in all. It is kept for good, and
    the disk is everybody's. A long conversation has a few MiB."""
    log_burst_bytes: int = 256 * MIB
    """How much of that at once."""
    log_bytes_per_second: int = MIB
    """And how fast beyond the burst."""
    max_open_question_bytes: int = 8 * MIB
    """Of all of them together: every browser is shown them."""
    follower_frames: int = 512
    """Frames that wait for one browser. One that is further behind is dropped and resumes."""
    follower_bytes: int = 16 * MIB
    """Bytes that wait for one browser: the memory that a stalled connection can hold."""
    frame_bytes: int = MIB
    """A frame is closed when its events reach this, so that a burst is sent in pieces."""
    ring_events: int = 5_000
    """Latest events kept in memory per session for browsers that reconnect."""
    ring_bytes: int = 4 * MIB
    """Bytes of those events. Beyond it a reconnect gets a snapshot from the log."""
    snapshot_events: int = 200
    """Durable events in a snapshot; what is earlier is fetched on demand."""
    snapshot_bytes: int = 4 * MIB
    """Bytes of those events."""
    open_block_chars: int = 2 * MIB
    """Text of unfinished blocks kept per session for snapshots, in characters."""
    storage_retries: int = 3
    """How often an append that failed is tried again before its session is given up."""
    storage_retry_seconds: float = 0.5
    """Wait before the first retry; doubled for each further one."""
    death_grace_seconds: float = 1.0
    """After an agent died: how long its sandbox may take to say why, before it is destroyed."""
    destroy_seconds: float = 10.0
    """How long the destruction of a sandbox is waited for when its session ends."""
    close_seconds: float = 8.0
    """How long all sessions together may take to end at shutdown. Less than the server's own."""
