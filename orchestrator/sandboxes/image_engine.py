"""Images in the Docker engine: built from a context, found by their tag, removed when replaced.

Synchronous, for the command line and for start-up. Not for: what is in an image.
"""

import contextlib
import io
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import docker
import msgspec
from docker.errors import APIError, DockerException, ImageNotFound

from orchestrator.sandboxes.image_base import ImageBuildFailed
from orchestrator.sandboxes.image_version import VERSION_LABEL

DOCKER_TIMEOUT = 900
"""Seconds without output from the build: one step downloads and unpacks 380 MB."""
LINES_TOLD = 10
"""Of a step's output, where it fails."""

Progress = Callable[[str], None]


class BuiltImage(msgspec.Struct, frozen=True, kw_only=True):
    id: str
    """`sha256:…`: what containers are created from."""
    version: str
    size_bytes: int
    tag: str


@contextlib.contextmanager
def docker_client() -> Iterator[docker.DockerClient]:
    """Raises ImageBuildFailed without a Docker engine."""
    try:
        client = docker.from_env(timeout=DOCKER_TIMEOUT)
    except DockerException as error:
        raise ImageBuildFailed(
            "No Docker engine answers.", advice="Start Docker, or set DOCKER_HOST."
        ) from error
    try:
        yield client
    finally:
        client.close()


def image_tagged(tag: str) -> BuiltImage | None:
    """The image that has this tag now, or None. Raises ImageBuildFailed without a Docker engine."""
    with docker_client() as client:
        return _found(client, tag)


def build(
    client: docker.DockerClient,
    context: bytes,
    *,
    arguments: Mapping[str, str],
    labels: Mapping[str, str],
    tag: str,
    on_progress: Progress,
) -> BuiltImage:
    """Build and tag it, and remove what had the tag before. Raises ImageBuildFailed."""
    previous = _found(client, tag)
    try:
        steps = client.api.build(
            fileobj=io.BytesIO(context), custom_context=True, tag=tag, buildargs=dict(arguments),
            labels=dict(labels), network_mode="host", rm=True, forcerm=True, decode=True,
        )  # fmt: skip
        last: list[str] = []
        for step in steps:
            _follow(step, last, on_progress)
    except (APIError, OSError) as error:
        raise ImageBuildFailed("The build broke off.", advice=str(error)) from error
    image = _described(client, tag)
    _remove_replaced(client, previous, image)
    return image


def _follow(step: dict[str, Any], last: list[str], on_progress: Progress) -> None:
    """Pass on the steps' titles; keep the last lines of output for the case that one fails."""
    line = str(step.get("stream", "")).strip()
    if line.startswith("Step "):
        on_progress(line)
    elif line:
        last[:] = [*last, line][-LINES_TOLD:]
    if "error" in step:
        raise ImageBuildFailed(
            f"The build failed: {step['error']}", advice="\n".join(last) or "Look at Docker's log."
        )


def _found(client: docker.DockerClient, tag: str) -> BuiltImage | None:
    try:
        return _described(client, tag)
    except ImageNotFound:
        return None


def _described(client: docker.DockerClient, tag: str) -> BuiltImage:
    image = client.images.get(tag)
    return BuiltImage(
        id=str(image.id),
        version=(image.labels or {}).get(VERSION_LABEL, ""),
        size_bytes=int(image.attrs["Size"]),
        tag=tag,
    )


def _remove_replaced(
    client: docker.DockerClient, previous: BuiltImage | None, image: BuiltImage
) -> None:
    """Every build would leave some hundred MB behind. What still runs or has another tag stays."""
    if previous is None or previous.id == image.id:
        return
    with contextlib.suppress(APIError):
        if not client.images.get(previous.id).tags:
            client.images.remove(previous.id)
