"""`casemate serve`: the control plane with its broker and its model, until it is told to stop.

Nothing here imports Docker: this is the process that the network reaches.
"""

import asyncio
import os
import signal
from collections.abc import Callable

import uvloop

from orchestrator.app import open_accounts, serve
from orchestrator.gateway.egress.network import Network
from orchestrator.settings import Settings
from orchestrator.setup import address
from orchestrator.setup.broker_child import dialled_broker
from orchestrator.setup.demo_model import with_model
from orchestrator.setup.first_admin import sign_in_link
from orchestrator.setup.privileges import for_operator
from orchestrator.setup.progress import Progress

Say = Callable[[str], None]


def run(
    settings: Settings,
    *,
    demo: bool,
    progress: Progress,
    say: Say,
    network: Network | None = None,
) -> None:
    """Serve until Ctrl-C or SIGTERM; both end it in good order and return.

    `demo`: without a key for the model API, answer from the scripted model. `network`: as `serve`
    has it. Raises SetupFailed.
    """
    address.require_free(settings.server.host, settings.server.port)
    if settings.broker.socket is None:
        settings, weaker = for_operator(settings, uid=os.geteuid(), environment=os.environ)
        if weaker:
            progress.note(weaker)
    # A terminal that is closed ends it in good order too (`nohup` says otherwise beforehand).
    if signal.getsignal(signal.SIGHUP) == signal.SIG_DFL:
        signal.signal(signal.SIGHUP, lambda _number, _frame: signal.raise_signal(signal.SIGTERM))
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(_serve(settings, demo=demo, progress=progress, say=say, network=network))
    progress.note("Stopped.")


async def _serve(
    settings: Settings, *, demo: bool, progress: Progress, say: Say, network: Network | None
) -> None:
    async with open_accounts(settings) as accounts:
        link = await sign_in_link(accounts, url=settings.server.url)
    async with (
        with_model(settings, demo=demo, progress=progress) as (complete, scripted),
        dialled_broker(settings, environment=os.environ) as dial,
    ):
        await serve(
            complete,
            scripted=scripted,
            dial=dial,
            network=network,
            on_ready=lambda url: _tell_ready(url, link=link, say=say),
        )


def _tell_ready(url: str, *, link: str | None, say: Say) -> None:
    say(f"Casemate is ready: {url}")
    if link:
        say(f"Sign in once with this link: {link}")
        say("Choose a password there; until then each start gives a fresh link.")
    say("Ctrl-C stops it.")
