"""The scripted model in the place of the real one, for a machine that has no key."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import msgspec
from msgspec.structs import replace

from orchestrator.protocol.secret import Secret
from orchestrator.settings import Settings
from orchestrator.setup.address import require_free
from orchestrator.setup.errors import SetupFailed
from orchestrator.setup.progress import Progress
from orchestrator.testing.scripted_model import Pace, Script, ScriptedModel, load_script

PACE = Pace(first_token=0.3, words_per_second=40.0)
"""About as fast as a real one: a person shall see words arrive."""
PLACEHOLDER_KEY = "scripted-model"
NOTICE = (
    "No ANTHROPIC_API_KEY is set: a scripted model answers instead of Claude. Put the key into "
    ".env for the real one."
)


@asynccontextmanager
async def with_model(
    settings: Settings, *, demo: bool, progress: Progress
) -> AsyncIterator[tuple[Settings, bool]]:
    """Settings with a model to talk to, and whether that is the scripted one.

    Raises SetupFailed without a key where `demo` is off.
    """
    if settings.model.has_key:
        yield settings, False
        return
    if not demo:
        raise SetupFailed(
            "There is no key for the model API.",
            advice="Set ANTHROPIC_API_KEY, or serve with --demo to use the scripted model.",
        )
    progress.note(NOTICE)
    async with ScriptedModel(pace=PACE) as model:
        complete = replace(
            settings,
            model=replace(settings.model, api_key=Secret(PLACEHOLDER_KEY)),
            gateway=replace(settings.gateway, upstream_url=model.url),
        )
        yield complete, True


def serve_demo_model(
    *, host: str, port: int, script: Path | None, say: Callable[[str], None]
) -> None:
    """Serve it alone, until Ctrl-C. Raises SetupFailed."""
    require_free(host, port)
    asyncio.run(_serve(host, port, script=read_script(script), say=say))


def read_script(path: Path | None) -> Script | None:
    """Raises SetupFailed with what is wrong in the file."""
    if path is None:
        return None
    try:
        return load_script(path)
    except (OSError, msgspec.DecodeError) as error:
        raise SetupFailed(f"{path} is not a script: {error}.") from error


async def _serve(
    host: str, port: int, *, script: Script | None, say: Callable[[str], None]
) -> None:
    async with ScriptedModel(script=script, host=host, port=port) as model:
        say(f"The scripted model answers at {model.url}")
        say("Ctrl-C stops it.")
        await asyncio.Event().wait()
