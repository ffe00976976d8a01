"""Builds the sandbox image and tells whether the one that is here is still the right one.

Synchronous, for the command line and for start-up: what serves requests talks to Docker through
aiodocker. See `sandbox-image/Dockerfile` for what is in the image and why.
"""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from docker.errors import DockerException

from orchestrator.sandboxes import image_engine
from orchestrator.sandboxes.image_base import ImageBuildFailed, provide_base
from orchestrator.sandboxes.image_context import build_context, host_network
from orchestrator.sandboxes.image_engine import BuiltImage, docker_client
from orchestrator.sandboxes.image_version import VERSION_LABEL, ImageOptions, current_version

DEFAULT_TAG = "casemate-sandbox:current"
CLI_PATTERN = "/opt/casemate/lib/python3*/site-packages/claude_agent_sdk/_bundled/claude"

Progress = Callable[[str], None]


def build_image(
    *,
    base: str = "auto",
    compiler: bool = False,
    extra_ca: Sequence[Path] = (),
    policies: Sequence[Path] = (),
    tool_servers: Sequence[Path] = (),
    tag: str = DEFAULT_TAG,
    on_progress: Progress = lambda _line: None,
    environ: Mapping[str, str] | None = None,
) -> BuiltImage:
    """Build, tag and pre-read the image. Raises ImageBuildFailed.

    `base`: `auto` (the registry's Debian, else Debian's packages), `debootstrap`, or a reference.
    `environ`: where this machine's proxies and pip settings may be.
    """
    options = ImageOptions(
        compiler=compiler,
        extra_ca=tuple(extra_ca),
        policies=tuple(policies),
        tool_servers=tuple(tool_servers),
    )
    version = current_version(options)
    with docker_client() as client:
        reference = provide_base(
            client, base=base, packages=options.packages, on_progress=on_progress
        )
        network = host_network(environ or {})
        on_progress("Building the sandbox image")
        image = image_engine.build(
            client,
            build_context(options, network, version=version),
            arguments={"BASE": reference, "PACKAGES": " ".join(options.packages)} | network.proxies,
            labels={VERSION_LABEL: version, "casemate.image": "sandbox"},
            tag=tag,
            on_progress=on_progress,
        )
    on_progress("Reading the CLI into the page cache")
    preread_image(tag)
    return image


def find_image(tag: str = DEFAULT_TAG) -> BuiltImage | None:
    """The image that has this tag now, or None. Raises ImageBuildFailed without a Docker engine."""
    return image_engine.image_tagged(tag)


def is_stale(
    *,
    compiler: bool = False,
    extra_ca: Sequence[Path] = (),
    policies: Sequence[Path] = (),
    tool_servers: Sequence[Path] = (),
    tag: str = DEFAULT_TAG,
) -> bool:
    """Whether there is no image of this tag, or one of other content than would be built now."""
    image = find_image(tag)
    options = ImageOptions(
        compiler=compiler,
        extra_ca=tuple(extra_ca),
        policies=tuple(policies),
        tool_servers=tuple(tool_servers),
    )
    return image is None or image.version != current_version(options)


def preread_image(tag: str = DEFAULT_TAG) -> None:
    """Read the CLI once, so that the first sandbox does not start from a cold disk (19 s).

    By a throw-away container, which works for any storage driver and any user of Docker.
    """
    with docker_client() as client:
        try:
            client.containers.run(
                tag, entrypoint=["/bin/sh", "-c"], command=[f"cat {CLI_PATTERN} >/dev/null"],
                remove=True, network_mode="none", read_only=True, cap_drop=["ALL"],
                security_opt=["no-new-privileges:true"], pids_limit=32, mem_limit="512m",
                user="65534:65534", labels={"casemate.preread": "1"},
            )  # fmt: skip
        except DockerException as error:
            raise ImageBuildFailed("The image does not run.", advice=str(error)) from error
