"""Builds the sandbox image and tells whether the one that is here is still the right one.

Synchronous, for the command line and for start-up: what serves requests talks to Docker through
aiodocker. See `sandbox-image/Dockerfile` for what is in the image and why.
"""

import contextlib
import io
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import docker
import msgspec
from docker.errors import APIError, DockerException, ImageNotFound

from orchestrator.sandboxes.image_base import ImageBuildFailed, provide_base
from orchestrator.sandboxes.image_context import build_context, host_network
from orchestrator.sandboxes.image_version import VERSION_LABEL, ImageOptions, current_version

DEFAULT_TAG = "casemate-sandbox:current"
CLI_PATTERN = "/opt/casemate/lib/python3*/site-packages/claude_agent_sdk/_bundled/claude"
DOCKER_TIMEOUT = 900
"""Seconds without output from the build: one step downloads and unpacks 380 MB."""
PREREAD_TIMEOUT = 120
"""Seconds. A cold disk reads the CLI in 20."""

Progress = Callable[[str], None]


class BuiltImage(msgspec.Struct, frozen=True, kw_only=True):
    id: str
    """`sha256:…`: what containers are created from."""
    version: str
    size_bytes: int
    tag: str


def build_image(
    *,
    base: str = "auto",
    compiler: bool = False,
    extra_ca: Sequence[Path] = (),
    policies: Sequence[Path] = (),
    tag: str = DEFAULT_TAG,
    on_progress: Progress = lambda _line: None,
    environ: Mapping[str, str] | None = None,
) -> BuiltImage:
    """Build, tag and pre-read the image. Raises ImageBuildFailed.

    `base`: `auto` (the registry's Debian, else Debian's packages), `debootstrap`, or a reference.
    `environ`: where this machine's proxies and pip settings may be.
    """
    options = ImageOptions(compiler=compiler, extra_ca=tuple(extra_ca), policies=tuple(policies))
    version = current_version(options)
    client = _client()
    try:
        reference = provide_base(
            client, base=base, packages=options.packages, on_progress=on_progress
        )
        network = host_network(environ or {})
        previous = _found(client, tag)
        on_progress("Building the sandbox image")
        _build(
            client,
            build_context(options, network, version=version),
            arguments={"BASE": reference, "PACKAGES": " ".join(options.packages)} | network.proxies,
            version=version,
            tag=tag,
            on_progress=on_progress,
        )
        image = _described(client, tag)
        _remove_replaced(client, previous, image)
        on_progress("Reading the CLI into the page cache")
        preread_image(tag)
    finally:
        client.close()
    return image


def find_image(tag: str = DEFAULT_TAG) -> BuiltImage | None:
    """The image that has this tag now, or None. Raises ImageBuildFailed without a Docker engine."""
    client = _client()
    try:
        return _found(client, tag)
    finally:
        client.close()


def is_stale(
    *,
    compiler: bool = False,
    extra_ca: Sequence[Path] = (),
    policies: Sequence[Path] = (),
    tag: str = DEFAULT_TAG,
) -> bool:
    """Whether there is no image of this tag, or one of other content than would be built now."""
    image = find_image(tag)
    options = ImageOptions(compiler=compiler, extra_ca=tuple(extra_ca), policies=tuple(policies))
    return image is None or image.version != current_version(options)


def preread_image(tag: str = DEFAULT_TAG) -> None:
    """Read the CLI once, so that the first sandbox does not start from a cold disk (19 s).

    By a throw-away container, which works for any storage driver and any user of Docker.
    """
    client = _client()
    try:
        client.containers.run(
            tag, entrypoint=["/bin/sh", "-c"], command=[f"cat {CLI_PATTERN} >/dev/null"],
            remove=True, network_mode="none", read_only=True, cap_drop=["ALL"],
            security_opt=["no-new-privileges:true"], pids_limit=32, mem_limit="512m",
            user="65534:65534", labels={"casemate.preread": "1"},
        )  # fmt: skip
    except DockerException as error:
        raise ImageBuildFailed("The image does not run.", advice=str(error)) from error
    finally:
        client.close()


def _client() -> docker.DockerClient:
    try:
        return docker.from_env(timeout=DOCKER_TIMEOUT)
    except DockerException as error:
        raise ImageBuildFailed(
            "No Docker engine answers.", advice="Start Docker, or set DOCKER_HOST."
        ) from error


def _found(client: docker.DockerClient, tag: str) -> BuiltImage | None:
    try:
        return _described(client, tag)
    except ImageNotFound:
        return None


def _remove_replaced(
    client: docker.DockerClient, previous: BuiltImage | None, image: BuiltImage
) -> None:
    """Every build would leave 580 MB behind. What still runs or has another tag is kept."""
    if previous is None or previous.id == image.id:
        return
    with contextlib.suppress(APIError):
        if not client.images.get(previous.id).tags:
            client.images.remove(previous.id)


def _described(client: docker.DockerClient, tag: str) -> BuiltImage:
    image = client.images.get(tag)
    return BuiltImage(
        id=str(image.id),
        version=(image.labels or {}).get(VERSION_LABEL, ""),
        size_bytes=int(image.attrs["Size"]),
        tag=tag,
    )


def _build(
    client: docker.DockerClient,
    context: bytes,
    *,
    arguments: dict[str, str],
    version: str,
    tag: str,
    on_progress: Progress,
) -> None:
    steps = client.api.build(
        fileobj=io.BytesIO(context), custom_context=True, tag=tag, buildargs=arguments,
        labels={VERSION_LABEL: version, "casemate.image": "sandbox"}, network_mode="host",
        rm=True, forcerm=True, decode=True,
    )  # fmt: skip
    last: list[str] = []
    try:
        for step in steps:
            _follow(step, last, on_progress)
    except (APIError, OSError) as error:
        raise ImageBuildFailed("The build broke off.", advice=str(error)) from error


def _follow(step: dict[str, Any], last: list[str], on_progress: Progress) -> None:
    """Pass on the steps' titles; keep the last lines of output for the case that one fails."""
    line = str(step.get("stream", "")).strip()
    if line.startswith("Step "):
        on_progress(line)
    elif line:
        last[:] = [*last[-9:], line]
    if "error" in step:
        raise ImageBuildFailed(
            f"The build failed: {step['error']}", advice="\n".join(last) or "Look at Docker's log."
        )
