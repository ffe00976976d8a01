"""What goes into the sandbox image, and the digest that says whether a built one still has it.

Pure but for reading the sources. The digest is the image's label `casemate.version`: a sandbox of
another digest is replaced, and `casemate up` builds again when it differs.
"""

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import msgspec

from orchestrator.sandboxes.image_base import ImageBuildFailed
from orchestrator.sandboxes.image_policies import policy_files
from orchestrator.sandboxes.image_tool_servers import tool_server_files

VERSION_LABEL = "casemate.version"
REPOSITORY = Path(__file__).parents[2]

SYSTEM_PACKAGES = ("ca-certificates", "curl", "git", "jq", "python3", "python3-pip-whl", "ripgrep")
COMPILER_PACKAGES = ("gcc", "libc6-dev", "make")


class ImageOptions(msgspec.Struct, frozen=True, kw_only=True):
    """What an operator may choose about the image's content."""

    compiler: bool = False
    """Add a C compiler and make (about 170 MB)."""
    extra_ca: tuple[Path, ...] = ()
    """PEM files that sandboxes shall trust for good."""
    policies: tuple[Path, ...] = ()
    """Folders of policy packages (see `image_policies`)."""
    tool_servers: tuple[Path, ...] = ()
    """Folders of tool servers (see `image_tool_servers`)."""

    @property
    def packages(self) -> tuple[str, ...]:
        return SYSTEM_PACKAGES + (COMPILER_PACKAGES if self.compiler else ())


def image_files(repository: Path = REPOSITORY) -> dict[str, bytes]:
    """The project's files that go into the image, by their path in the build context."""
    image = repository / "sandbox-image"
    package = repository / "orchestrator"
    files = {
        "Dockerfile": image / "Dockerfile",
        "tidy.sh": image / "tidy.sh",
        "managed-settings.json": image / "managed-settings.json",
        "fence/bash": image / "fence" / "bash",
        "requirements.txt": repository / "requirements" / "sandbox.txt",
        "code/orchestrator/__init__.py": package / "__init__.py",
    }
    files |= {f"code/shim/{path.name}": path for path in (image / "shim").glob("*.py")}
    files |= {
        f"code/orchestrator/{part}/{path.name}": path
        for part in ("protocol", "plugin_api")
        for path in (package / part).glob("*.py")
    }
    return {name: files[name].read_bytes() for name in sorted(files)}


def current_version(options: ImageOptions, *, repository: Path = REPOSITORY) -> str:
    """The digest (32 hex digits) of everything that an image built now would hold.

    The base is not part of it: it is the same Debian release wherever it comes from.
    """
    return _digest(
        *_named(image_files(repository)),
        " ".join(options.packages).encode(),
        *(certificate.read_bytes() for certificate in options.extra_ca),
        *_named(added_files(options)),
    )


def version_of(files: Mapping[str, bytes], *, packages: Sequence[str]) -> str:
    """The digest (32 hex digits) of an image that has these files and packages."""
    return _digest(*_named(files), " ".join(packages).encode())


def added_files(options: ImageOptions) -> dict[str, bytes]:
    """The operator's own, by their path in the build context. Raises ImageBuildFailed."""
    files = _policy_files(options)
    for folder in options.tool_servers:
        found = tool_server_files(folder)
        if files.keys() & found.keys():
            raise ImageBuildFailed(f"Two tool servers are called {folder.name}.")
        files |= found
    return files


def _policy_files(options: ImageOptions) -> dict[str, bytes]:
    files: dict[str, bytes] = {}
    for folder in options.policies:
        found = {f"policies/{name}": content for name, content in policy_files(folder).items()}
        if twice := sorted(files.keys() & found.keys()):
            raise ImageBuildFailed(f"Two policies bring the file {twice[0]} along.")
        files |= found
    return files


def _named(files: Mapping[str, bytes]) -> Iterator[bytes]:
    for name, content in files.items():
        yield name.encode()
        yield content


def _digest(*parts: bytes) -> str:
    """Length first, so that no two lists of parts look the same."""
    digest = hashlib.sha256()
    for part in parts:
        digest.update(len(part).to_bytes(8, "big"))
        digest.update(part)
    return digest.hexdigest()[:32]
