"""What an operator may set about logs."""

from typing import Literal

import msgspec


class TelemetrySettings(msgspec.Struct, frozen=True, kw_only=True):
    log_format: Literal["auto", "json", "console"] = "auto"
    """`auto`: for a person on a terminal, JSON lines anywhere else."""
    log_level: Literal["debug", "info", "warning", "error"] = "info"
    """The least important level that is written."""
