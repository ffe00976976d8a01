"""Where PostgreSQL's programs are on this machine. Casemate needs them for its tests alone: a
server that it keeps its data on is the operator's."""

import shutil
from pathlib import Path

DEBIAN_HOME = Path("/usr/lib/postgresql")
"""Each version has a directory of its own there, and none is on the PATH."""
NEEDED = ("initdb", "postgres", "psql")


def postgres_programs() -> Path | None:
    """The directory of the newest ones; None where they are not installed."""
    versions = [place for place in DEBIAN_HOME.glob("*/bin") if place.parent.name.isdigit()]
    places = sorted(versions, key=lambda place: int(place.parent.name), reverse=True)
    if found := shutil.which("postgres"):
        places.append(Path(found).resolve().parent)
    return next((place for place in places if _is_whole(place)), None)


def _is_whole(place: Path) -> bool:
    return all((place / name).is_file() for name in NEEDED)
