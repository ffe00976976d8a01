"""The sandbox image: built when it is missing or of other content than would be built now.

What an operator once chose with `casemate image build` is kept beside the database, so that a later
`up` builds the same again and not one without, say, the company's certificates.
"""

from collections.abc import Mapping
from pathlib import Path

import msgspec

from orchestrator.sandboxes import image_builder
from orchestrator.sandboxes.image_base import ImageBuildFailed
from orchestrator.sandboxes.image_engine import BuiltImage
from orchestrator.setup.errors import ImageNotBuilt
from orchestrator.setup.file_lock import file_lock
from orchestrator.setup.progress import Progress

DEFAULT_TAG = image_builder.DEFAULT_TAG
CHOICE_FILE = "sandbox-image.json"


class ImageChoice(msgspec.Struct, frozen=True, kw_only=True):
    """What an operator may choose about the image."""

    base: str = "auto"
    """`auto`, `debootstrap`, or the reference of an image to build on."""
    compiler: bool = False
    extra_ca: tuple[str, ...] = ()
    """Absolute paths of PEM files that sandboxes trust."""
    policies: tuple[str, ...] = ()
    """Absolute paths of folders with policy packages."""
    tool_servers: tuple[str, ...] = ()
    """Absolute paths of folders with tool servers."""
    tag: str = DEFAULT_TAG


def remembered_choice(data_dir: Path) -> ImageChoice:
    """The last one that was built, else the defaults. Raises ImageNotBuilt for a broken file."""
    path = data_dir / CHOICE_FILE
    try:
        return msgspec.json.decode(path.read_bytes(), type=ImageChoice)
    except FileNotFoundError:
        return ImageChoice()
    except (OSError, msgspec.DecodeError) as error:
        raise ImageNotBuilt(
            f"{path} cannot be read.", advice="Remove it and run `casemate image build` again."
        ) from error


def remember_choice(choice: ImageChoice, *, data_dir: Path) -> None:
    data_dir.mkdir(parents=True, exist_ok=True, mode=0o700)
    (data_dir / CHOICE_FILE).write_bytes(msgspec.json.format(msgspec.json.encode(choice)))


def ensure_image(
    choice: ImageChoice, *, environment: Mapping[str, str], lock: Path, progress: Progress
) -> None:
    """Build it if it is stale. Raises ImageNotBuilt."""
    if not is_stale(choice):
        return
    with file_lock(lock):
        if is_stale(choice):
            build_image(choice, environment=environment, progress=progress)


def build_image(
    choice: ImageChoice, *, environment: Mapping[str, str], progress: Progress
) -> BuiltImage:
    """Raises ImageNotBuilt."""
    title = "Building the sandbox image (the first time takes minutes)"
    try:
        with progress.step(title) as step:
            image = image_builder.build_image(
                base=choice.base,
                compiler=choice.compiler,
                extra_ca=[Path(path) for path in choice.extra_ca],
                policies=[Path(path) for path in choice.policies],
                tool_servers=[Path(path) for path in choice.tool_servers],
                tag=choice.tag,
                on_progress=step.say,
                environ=environment,
            )
    except (ImageBuildFailed, OSError) as error:
        raise _not_built(error) from error
    progress.note(f"  {image.tag}: {image.size_bytes / 1e6:.0f} MB, version {image.version[:12]}")
    return image


def is_stale(choice: ImageChoice) -> bool:
    try:
        return image_builder.is_stale(
            compiler=choice.compiler,
            extra_ca=[Path(path) for path in choice.extra_ca],
            policies=[Path(path) for path in choice.policies],
            tool_servers=[Path(path) for path in choice.tool_servers],
            tag=choice.tag,
        )
    except (ImageBuildFailed, OSError) as error:
        raise _not_built(error) from error


def _not_built(error: ImageBuildFailed | OSError) -> ImageNotBuilt:
    if isinstance(error, ImageBuildFailed):
        return ImageNotBuilt(str(error.sentence), advice=error.advice)
    return ImageNotBuilt(f"A file for the sandbox image cannot be read: {error}.")
