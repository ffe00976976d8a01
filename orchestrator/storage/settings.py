"""How the database is opened."""

from typing import Literal

import msgspec

from orchestrator.protocol.secret import Secret

SCHEMES = ("postgresql://", "postgres://")


class StorageSettings(msgspec.Struct, frozen=True, kw_only=True):
    """The database: the file `casemate.sqlite` in the data directory, unless `path` names another
    one or `url` a PostgreSQL server."""

    url: Secret = Secret("")
    """Secret. `postgresql://user:password@host:5432/casemate`, with what libpq understands behind
    it (`?sslmode=verify-full`, `?host=/run/postgresql`). Empty: SQLite."""
    path: str = ""
    """File of the SQLite database. Empty: in the data directory. On a local disk: SQLite's locks do
    not hold on network file systems."""
    busy_seconds: float = 5.0
    """SQLite: how long a statement waits for another process (a backup, the command line) to let
    go."""
    readers: int = 2
    """SQLite: connections that read beside the one that writes; each is a thread."""
    synchronous: Literal["normal", "full"] = "normal"
    """SQLite: `normal` survives the death of the process; the last moments before a power cut may
    be lost, whole transactions at a time. `full` survives that too and costs a disk flush per
    write. PostgreSQL says this for itself (`synchronous_commit`)."""
    connections: int = 8
    """PostgreSQL: the most that are open at once; what is to be written waits for one."""
    connect_seconds: float = 10.0
    """PostgreSQL: for a new connection."""
    statement_seconds: float = 30.0
    """PostgreSQL: for one statement, and for a connection to get free; migrations may take longer.
    """

    def __post_init__(self) -> None:
        if self.url and not self.url.reveal().startswith(SCHEMES):
            raise ValueError("the URL has to begin with postgresql://")
        if self.url and self.path:
            raise ValueError("URL and PATH name two databases; choose one")
        if self.connections < 1:
            raise ValueError("CONNECTIONS has to be 1 at least")
