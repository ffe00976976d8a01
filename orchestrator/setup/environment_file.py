"""`.env`: settings in a file, for a machine on which nobody wants to export them."""

from collections.abc import Mapping
from pathlib import Path

from dotenv import dotenv_values


def with_environment_file(environment: Mapping[str, str], *, file: Path) -> dict[str, str]:
    """The environment with what the file adds. What the environment has itself wins."""
    if not file.is_file():
        return dict(environment)
    values = dotenv_values(file, interpolate=False)
    return {**{name: value for name, value in values.items() if value}, **environment}
