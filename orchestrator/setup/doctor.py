"""Whether this machine can run sandboxes well: what is there, what is missing, what is old.

Puts together what `machine` sees and what `host_examination` and `engine_examination` make of it.
"""

import os

from orchestrator.profiles import BadProfiles, load_catalogue
from orchestrator.sandboxes import image_builder
from orchestrator.sandboxes.image_base import ImageBuildFailed
from orchestrator.settings import Settings
from orchestrator.setup import engine as docker_engine
from orchestrator.setup import machine, sandbox_image
from orchestrator.setup.engine_examination import examine_engine
from orchestrator.setup.engine_plan import UseEngine, plan
from orchestrator.setup.errors import SetupFailed
from orchestrator.setup.finding import Finding, bad, good, warning
from orchestrator.setup.host_examination import Plans, examine_host
from orchestrator.setup.storage_examination import examine_storage


def examine(settings: Settings) -> list[Finding]:
    """Look at everything. Never raises: what cannot be looked at is a finding too."""
    environment = dict(os.environ)
    if settings.engine.url:
        environment["DOCKER_HOST"] = settings.engine.url
    decision = plan(docker_engine.look_around(environment))
    url = decision.url if isinstance(decision, UseEngine) else None
    host = machine.look_at_host(
        data_dir=settings.server.data_dir, slots=settings.slots, engine_url=url
    )
    profiles, plans = _plans(settings)
    found = [*examine_host(host, plans), *examine_storage(settings), profiles]
    if not isinstance(decision, UseEngine):
        advice = "`casemate up` brings one up where it can."
        return [*found, bad("engine", "None answers.", advice)]
    os.environ["DOCKER_HOST"] = decision.url
    return [*found, *_engine(decision, settings), _image(settings)]


def _plans(settings: Settings) -> tuple[Finding, Plans]:
    try:
        catalogue = load_catalogue(settings.profiles.path, model=settings.model.default)
        profiles = catalogue.profiles()
        finding = good("profiles", ", ".join(profile.name for profile in profiles))
    except BadProfiles as error:
        profiles, advice = [], "Casemate does not start with it: change the file."
        finding = bad("profiles", str(error), advice)
    plans = Plans(
        profiles=profiles,
        pool_maximum=settings.pool.maximum,
        host_maximum=settings.pool.host_maximum,
        slots=settings.slots,
    )
    return finding, plans


def _engine(decision: UseEngine, settings: Settings) -> list[Finding]:
    here = good("engine", f"{decision.origin}, {decision.url}")
    try:
        facts = machine.look_at_engine(decision.url, settings.engine)
    except SetupFailed as error:
        return [bad("engine", error.sentence, "Look into its log.")]
    return [here, *examine_engine(facts)]


def _image(settings: Settings) -> Finding:
    build = "`casemate up` builds it, or `casemate image build` now."
    try:
        choice = sandbox_image.remembered_choice(settings.server.data_dir)
        image = image_builder.find_image(choice.tag)
        stale = sandbox_image.is_stale(choice)
    except (SetupFailed, ImageBuildFailed) as error:
        return bad("image", error.sentence, error.advice)
    if image is None:
        return warning("image", "Not built yet.", build)
    size = f"{image.size_bytes / 1e6:.0f} MB, {image.id[:19]}"
    if stale:
        return warning("image", f"{size}, of other code than would be built now.", build)
    return good("image", f"{size}, of the code that is here")
