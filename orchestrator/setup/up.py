"""`casemate up`: prepare everything, then become `casemate serve`."""

import os
import sys

from orchestrator.settings import Settings
from orchestrator.setup import address, preparation
from orchestrator.setup.checkout import Checkout
from orchestrator.setup.preparation import Part
from orchestrator.setup.progress import Progress

NEEDED: tuple[Part, ...] = ("engine", "image", "page")
SERVE = ("-m", "orchestrator", "serve", "--demo")


def up(settings: Settings, *, checkout: Checkout, progress: Progress) -> None:
    """Everything, then serve until Ctrl-C or SIGTERM. Does not return. Raises SetupFailed.

    This program makes room for the one that serves: what prepared the machine speaks with Docker,
    and what the network reaches shall not be able to.
    """
    address.require_free(settings.server.host, settings.server.port)
    preparation.prepare(NEEDED, settings=settings, checkout=checkout, progress=progress)
    sys.stdout.flush()
    os.execv(sys.executable, (sys.executable, *SERVE))  # noqa: S606 - ourselves, without a shell
