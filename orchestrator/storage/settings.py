"""How the database is opened."""

from typing import Literal

import msgspec


class StorageSettings(msgspec.Struct, frozen=True, kw_only=True):
    """The database. Its file is `casemate.sqlite` in the data directory unless `path` says
    other."""

    path: str = ""
    """File of the SQLite database. Empty: in the data directory. On a local disk: SQLite's locks do
    not hold on network file systems."""
    busy_seconds: float = 5.0
    """How long a statement waits for another process (a backup, the command line) to let go."""
    readers: int = 2
    """Connections that read beside the one that writes; each is a thread."""
    synchronous: Literal["normal", "full"] = "normal"
    """`normal` survives the death of the process; the last moments before a power cut may be lost,
    whole transactions at a time. `full` survives that too and costs a disk flush per write."""
