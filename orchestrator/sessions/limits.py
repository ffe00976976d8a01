"""The bounds that the rules keep. Each says its unit and its reason."""

import msgspec

MIB = 1 << 20


class SessionLimits(msgspec.Struct, frozen=True, kw_only=True):
    """What one session, one follower and one user may take up."""

    max_open_per_user: int = 200
    """Sessions that are not over yet, also those that sleep: what is stored of one user's."""
    max_awake_per_user: int = 50
    """Sessions with a sandbox, or waiting for one. Above it a user waits for their own sessions,
    not others."""
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
    death_shows_seconds: float = 3.0
    """After the engine told that something in a sandbox was killed for its memory: how long it may
    take to show that the sandbox dies of that. Then its loss says all."""
    destroy_seconds: float = 10.0
    """How long the destruction of a sandbox is waited for when its session ends."""
    watch_again_seconds: float = 5.0
    """After something went wrong in looking after a session, before it is looked after again."""
    max_prelude_events: int = 1_000
    """What a sandbox says before its session is at home in it. An honest one says a few words."""
    max_prelude_bytes: int = 16 * MIB
    """Of all that together: it waits in memory."""
    max_deaths: int = 3
    """Sandboxes of one session that may die in a row before no other one is tried by itself."""
    thaw_seconds: float = 5.0
    """How long the engine may take to freeze or thaw a sandbox. It takes some milliseconds."""
    resume_seconds: float = 60.0
    """How long an agent may take to be connected anew with its conversation."""
    sync_seconds: float = 10.0
    """How long a sandbox may take to say the rest of the transcript before it is given up."""
    checkpoint_patience_seconds: float = 1.0
    """How long a prompt waits for a checkpoint after the turn before it; doubled each time that a
    checkpoint was put off for one."""
    adopt_seconds: float = 20.0
    """At start: how long the shim of a sandbox that outlived an earlier run may take to connect."""
    adopted_at_once: int = 16
    """At start: sessions that are taken up at the same time."""
    drain_seconds: float = 30.0
    """At shutdown: how long turns that run may take to end before they are interrupted."""
    interrupt_seconds: float = 5.0
    """At shutdown: how long an interrupted turn may take to end."""
    kept_at_once: int = 8
    """At shutdown: checkpoints that are taken at the same time."""
    close_seconds: float = 30.0
    """At shutdown, after the turns: how long all checkpoints together may take. What is late rests
    with what was kept before."""
    transcript_bytes: int = 512 * MIB
    """Of one session's transcripts in the store, all branches together. A long conversation has
    some ten MiB."""
    transcript_batches_per_second: float = 100.0
    """Of one sandbox, on average over `transcript_burst_seconds`; then it is read more slowly. Each
    is a transaction of its own; a busy agent with subagents makes some ten."""
    transcript_burst_seconds: float = 10.0
    """Over so many seconds that pace is an average: the end of a turn comes in one burst."""
    transcript_asks: int = 4
    """Questions of one sandbox about its transcripts that are answered at once; the rest wait."""
    transcript_asks_waiting: int = 256
    """How many may wait. The agent's SDK asks a few, one after the other."""
    transcript_answer_seconds: float = 120.0
    """How long one answer may take to be read by the sandbox."""
    host_reserve_bytes: int = 512 * MIB
    """Memory that the machine keeps available. Below it spare sandboxes are given up first, then
    the idle session that was used least recently hibernates."""
