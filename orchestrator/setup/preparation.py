"""The parts that must be there before Casemate serves or is tested, each made if it is missing."""

import os
import shutil
from collections.abc import Collection
from typing import Literal, get_args

from orchestrator.settings import Settings
from orchestrator.setup import sandbox_image, service_image, system_packages, web_page
from orchestrator.setup.checkout import Checkout
from orchestrator.setup.engine import Engine, ensure_engine
from orchestrator.setup.errors import PackagesNotInstalled
from orchestrator.setup.gvisor import ensure_gvisor_engine
from orchestrator.setup.postgres import postgres_programs
from orchestrator.setup.progress import Progress

Part = Literal[
    "engine", "gvisor", "image", "page-packages", "page", "service", "browser", "postgres"
]
PARTS: tuple[Part, ...] = get_args(Part)
BROWSERS = ("chromium", "chromium-browser", "google-chrome")


def prepare(
    parts: Collection[Part], *, settings: Settings, checkout: Checkout, progress: Progress
) -> None:
    """Make these parts, in the order that they need one another. Raises SetupFailed."""
    if {"engine", "gvisor", "image", "service"} & set(parts):
        prepare_engine(settings=settings, progress=progress)
    if "gvisor" in parts:
        prepare_gvisor(settings=settings, checkout=checkout, progress=progress)
    if "image" in parts:
        prepare_image(settings=settings, checkout=checkout, progress=progress)
    if "page-packages" in parts:
        web_page.ensure_packages(checkout, progress=progress)
    if {"page", "service"} & set(parts):
        web_page.ensure_page(checkout, progress=progress)
    if "service" in parts:
        prepare_service(settings=settings, checkout=checkout, progress=progress)
    if "browser" in parts:
        prepare_browser(progress=progress)
    if "postgres" in parts:
        prepare_postgres(progress=progress)


def prepare_engine(*, settings: Settings, progress: Progress) -> Engine:
    """An engine that answers; `DOCKER_HOST` names it to everything in this process from then on."""
    environment = dict(os.environ)
    if settings.engine.url:
        environment["DOCKER_HOST"] = settings.engine.url
    engine = ensure_engine(
        environment=environment, state_dir=settings.server.data_dir, progress=progress
    )
    os.environ["DOCKER_HOST"] = engine.url
    return engine


def prepare_gvisor(*, settings: Settings, checkout: Checkout, progress: Progress) -> None:
    """A second engine with gVisor's runsc. Everything in this process uses it from then on."""
    os.environ["DOCKER_HOST"] = ensure_gvisor_engine(
        home=checkout.cache / "gvisor",
        image=sandbox_image.remembered_choice(settings.server.data_dir).tag,
        progress=progress,
    )


def prepare_image(*, settings: Settings, checkout: Checkout, progress: Progress) -> None:
    sandbox_image.ensure_image(
        sandbox_image.remembered_choice(settings.server.data_dir),
        environment=os.environ,
        lock=checkout.cache / "image.lock",
        progress=progress,
    )


def prepare_service(*, settings: Settings, checkout: Checkout, progress: Progress) -> None:
    """The image of control plane and broker, on the base that was chosen for sandboxes."""
    service_image.ensure_service_image(
        checkout,
        base=sandbox_image.remembered_choice(settings.server.data_dir).base,
        environment=os.environ,
        progress=progress,
    )


def prepare_browser(*, progress: Progress) -> None:
    """Chromium, for the browser tests. Raises PackagesNotInstalled."""
    if any(shutil.which(name) for name in BROWSERS):
        return
    if not system_packages.can_install():
        raise PackagesNotInstalled(
            "The browser tests need Chromium.", advice="Install it and run this again."
        )
    system_packages.install(["chromium"], progress=progress)


def prepare_postgres(*, progress: Progress) -> None:
    """PostgreSQL's programs, for the tests of storage. Raises PackagesNotInstalled."""
    if postgres_programs() is not None:
        return
    if not system_packages.can_install():
        raise PackagesNotInstalled(
            "The tests of storage need PostgreSQL.", advice="Install it and run this again."
        )
    system_packages.install(["postgresql"], progress=progress)
