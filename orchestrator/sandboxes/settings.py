"""How sandboxes are made, kept ready and listened to: one frozen struct per concern."""

from pathlib import Path
from typing import Literal

import msgspec

MIB = 1 << 20
LEAST_UID = 10_000
LAST_UID = (1 << 31) - 1
"""Docker takes no greater one."""
NOBODY = 65_534


class EngineSettings(msgspec.Struct, frozen=True, kw_only=True):
    """The Docker engine."""

    url: str = ""
    """Where the daemon listens (`unix:///…`). Empty: found as the docker command finds it."""
    runtime: Literal["auto", "runc", "runsc"] = "auto"
    """What runs containers. `auto` takes gVisor's runsc where the daemon has it registered."""
    instance: str = ""
    """Names this installation on its Docker host: only containers with this label are ours. Empty:
    the id in the data directory, made at the first start."""
    call_limit: float = 20.0
    """Seconds for one call. Twenty containers at once on two cores stay under ten."""
    events_retry: float = 1.0
    """Seconds before the engine's event stream is opened again after it broke."""
    look_interval: float = 5.0
    """Seconds between looks for containers that died while the event stream was not there."""


class SlotSettings(msgspec.Struct, frozen=True, kw_only=True):
    """The directories in which sandboxes meet the control plane."""

    root: Path = Path("/run/casemate/slots")
    """Holds a directory per installation, with one per sandbox in it. Short, because a socket's
    path may have 107 bytes; and on a tmpfs, because nothing in it survives its sandbox."""
    first_uid: int = 20_000
    """Sandboxes run with uids from here on: clear of people and of services."""
    uids: int = 20_000
    """How many. Each sandbox has one of its own, so that no kernel limit per user is shared."""

    def __post_init__(self) -> None:
        """Raises ValueError for uids that people, services or the kernel have other uses for."""
        last = self.first_uid + self.uids - 1
        if self.first_uid < LEAST_UID:
            raise ValueError(f"first_uid: below {LEAST_UID} are people and services.")
        if self.uids < 1 or last > LAST_UID:
            raise ValueError(f"uids: there must be one at least, and none above {LAST_UID}.")
        if self.first_uid <= NOBODY <= last:
            raise ValueError(f"first_uid, uids: {NOBODY} is nobody's, which others use too.")


class BrokerSettings(msgspec.Struct, frozen=True, kw_only=True):
    """The broker: the process that alone talks to Docker, and how the control plane reaches it."""

    socket: Path | None = None
    """Where a broker of its own listens (`casemate broker`), and where `casemate serve` then finds
    it. None: `serve` starts a broker beside it, which ends soon after it."""
    client_uid: int | None = None
    """The user id that a control plane runs with. Beside it only root and the broker's own user
    may call."""
    grace: float = 120.0
    """Seconds after its control plane is gone without a good-bye, until what a broker made for it
    is destroyed: a control plane that is back earlier goes on with every sandbox. Enough for a
    restart after a crash, and for a supervisor's pause before it."""
    sweep_interval: float = 30.0
    """Seconds between looks for containers and slots that nobody keeps."""
    requests: int = 32
    """Requests that are worked on at once; while there are as many, no more are read."""
    hello_limit: float = 5.0
    """Seconds from a connection to its first message."""
    connect_limit: float = 30.0
    """Seconds that a starting control plane waits for its broker, and a starting broker for
    the slots of one that is still ending."""
    call_limit: float = 100.0
    """Seconds for one request. A new sandbox takes five calls to Docker, each with a limit."""
    ping_interval: float = 10.0
    """Seconds between looks whether the broker still answers."""
    ping_limit: float = 20.0
    """Seconds for that answer; then the connection is made anew, and a broker of our own, too."""
    backoff_first: float = 0.2
    """Seconds until the broker is tried again after it went away; doubled with each failure."""
    backoff_most: float = 10.0
    """Seconds at which doubling ends."""
    close_limit: float = 30.0
    """Seconds for a broker that ends to remove every sandbox."""


class LinkSettings(msgspec.Struct, frozen=True, kw_only=True):
    """How much a sandbox may say. A shim at work stays far below each of these."""

    hello_limit: float = 5.0
    """Seconds from a connection to its first frame."""
    reconnect_limit: float = 5.0
    """Seconds without a connection until a sandbox is given up."""
    ping_interval: float = 20.0
    """Seconds between pings. A dead peer shows at once on a unix socket; a hung one only so."""
    ping_limit: float = 20.0
    """Seconds for the answer, and for a peer to take what is sent to it."""
    inbox_bytes: int = 8 * MIB
    """Events that wait for their session; then the sandbox is no longer read from."""
    inbox_events: int = 20_000
    """The same, counted: many small events cost more than their bytes."""
    events_per_second: int = 3_000
    """On average; beyond this the sandbox is read more slowly. A busy turn makes a few hundred."""
    bytes_per_second: int = 4 * MIB
    """On average; beyond this the sandbox is read more slowly."""
    burst_seconds: float = 8.0
    """Seconds' worth of both that pass at once: what a shim kept while nobody listened."""
    flood_limit: float = 20.0
    """Seconds of being slowed without a break, after which a sandbox is cut off."""
    connections: int = 4
    """Open sockets per slot, transfers aside. Anything in the sandbox can dial, and each costs a
    descriptor here."""
    dials_per_second: float = 10.0
    """Connections that are accepted per slot, on average. A shim dials once, and once for each
    transfer; a loop that dials and hangs up would cost a processor here."""
    dials_at_once: int = 30
    """The same in one burst."""
    transfers: int = 4
    """Transfers of a person's files at once per slot, each with a connection of its own."""
    own_transfers: int = 4
    """The same for checkpoints and transcripts: they do not wait for anybody's downloads."""
    transfer_dial_limit: float = 10.0
    """Seconds for the shim to dial after a transfer was ordered; then its id is void."""
    transfer_patience: float = 30.0
    """Seconds over which a transfer has to move at least `transfer_progress`, else it is cut."""
    transfer_progress: int = 64 * 1024
    """Bytes within `transfer_patience`: about 2 KiB a second, slower than any usable network."""
    transfer_limit: float = 1800.0
    """Seconds for one transfer, however much it moves."""
    outbox_commands: int = 500
    """Commands that the shim has not acknowledged; with more it is taken for hung."""
    outbox_bytes: int = 32 * MIB
    """The same in bytes: a prompt may have one MiB."""


class PoolSettings(msgspec.Struct, frozen=True, kw_only=True):
    """How many sandboxes are kept ready. Each costs about 140 MiB and 1.5 s of CPU to make."""

    minimum: int = 2
    """Ready and unclaimed sandboxes of each profile, at first. Changed live by an admin."""
    maximum: int = 6
    """All sandboxes of each profile, claimed ones included, at first. Changed live."""
    host_maximum: int = 60
    """The ceiling for all profiles together, and the most that an admin may ask for."""
    start_cap: int = 2
    """Starts at once per profile: beyond two on two cores, only the wait for each grows."""
    refill_pause: float = 2.0
    """Seconds after a claim before its replacement is started, while others are ready. A start
    takes more than a core for a second, just when the claimed one has its first answer to give."""
    start_limit: float = 90.0
    """Seconds from create to ready. The first start of all reads 380 MB and can take 20 s."""
    adopt_limit: float = 15.0
    """Seconds for a sandbox of an earlier run to be connected again. Its shim tries every two."""
    adopt_wait: float = 60.0
    """Seconds until it is no longer waited for sessions to ask for their sandboxes of an earlier
    run."""
    reconcile_interval: float = 30.0
    """Seconds between looks for sandboxes that the broker keeps and nobody here knows."""
    shed_pause: float = 60.0
    """Seconds without making spare sandboxes after some were given up because memory is short."""
    max_age: float = 3600.0
    """Seconds after which an unclaimed sandbox is replaced."""
    wait_limit: float = 60.0
    """Seconds that a claim waits before it fails with a time to try again."""
    queue_bound: int = 200
    """Claims that wait per profile; the next one fails at once."""
    backoff_first: float = 1.0
    """Seconds of rest after a start that failed; doubled with each further one."""
    backoff_most: float = 60.0
    """Seconds at which doubling ends."""
    tick: float = 5.0
    """Seconds between looks at ages and at the image's version, when nothing happens."""
    destroy_limit: float = 15.0
    """Seconds that anyone waits for a sandbox to be gone; it is tried again in the background."""
    close_limit: float = 30.0
    """Seconds for destroying every sandbox at shutdown."""


class SandboxSettings(msgspec.Struct, frozen=True, kw_only=True):
    """All of the above."""

    engine: EngineSettings = EngineSettings()
    slots: SlotSettings = SlotSettings()
    broker: BrokerSettings = BrokerSettings()
    link: LinkSettings = LinkSettings()
    pool: PoolSettings = PoolSettings()
