"""How times are put into sentences. Pure."""

UNITS = ((86_400, "day"), (3600, "hour"), (60, "minute"), (1, "second"))
NEARLY = 0.01
"""Of a unit: what lacks so little of a whole one is one."""


def duration(seconds: float) -> str:
    """In the largest unit of which there are two, or just one; rounded down, since nobody is
    promised more than there is: `90 days`, `1 hour`, `90 minutes`, `12 seconds`."""
    for size, name in UNITS:
        count = int(seconds / size + NEARLY)
        if count > 1 or abs(seconds - size) <= size * NEARLY:
            return f"{count} {name}{'' if count == 1 else 's'}"
    return "a moment"
