"""The build context of an image: a tar in memory, the same bytes for the same sources.

The builder's own network settings (CA bundle, package index) are in it for the stage that installs
Python packages. No layer of the finished image has them.
"""

import configparser
import io
import ssl
import tarfile
from collections.abc import Mapping, Sequence
from pathlib import Path

import msgspec

from orchestrator.sandboxes.image_version import ImageOptions, added_files, image_files

PROXY_VARIABLES = ("HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY", "http_proxy", "https_proxy", "no_proxy")
INDEX_OPTIONS = ("index-url", "extra-index-url", "trusted-host", "proxy", "timeout")


class BuildNetwork(msgspec.Struct, frozen=True, kw_only=True):
    """How the build reaches package indexes: the machine's own way, used while building only."""

    ca_bundle: bytes = b""
    pip_config: str = ""
    proxies: dict[str, str] = {}


def host_network(environ: Mapping[str, str]) -> BuildNetwork:
    """What this machine uses itself: its CA bundle, pip's configuration, proxies."""
    bundle = ssl.get_default_verify_paths().cafile
    return BuildNetwork(
        ca_bundle=Path(bundle).read_bytes() if bundle else b"",
        pip_config=_pip_config(environ),
        proxies={name: environ[name] for name in PROXY_VARIABLES if name in environ},
    )


def build_context(options: ImageOptions, network: BuildNetwork, *, version: str) -> bytes:
    """That of the sandbox image."""
    files = image_files() | added_files(options)
    files["code/version"] = version.encode()
    for number, certificate in enumerate(options.extra_ca):
        files[f"certificates/{number}-{certificate.stem}.crt"] = certificate.read_bytes()
    return packed(files, network, directories=("certificates", "policies", "tool_servers"))


def packed(
    files: Mapping[str, bytes], network: BuildNetwork, *, directories: Sequence[str] = ()
) -> bytes:
    """These files, by their paths, and what a build needs to reach package indexes. `directories`
    are there even where no file is in them."""
    complete = {
        **files,
        "build-ca.crt": network.ca_bundle,
        "pip.conf": network.pip_config.encode(),
    }
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        for name in directories:
            _add_directory(archive, name)
        for name in sorted(complete):
            _add_file(archive, name, complete[name])
    return buffer.getvalue()


def _add_directory(archive: tarfile.TarFile, name: str) -> None:
    entry = tarfile.TarInfo(name)
    entry.type, entry.mode = tarfile.DIRTYPE, 0o755
    archive.addfile(entry)


def _add_file(archive: tarfile.TarFile, name: str, content: bytes) -> None:
    """Owned by root, not writable by others, of no particular time: equal content, equal layer."""
    entry = tarfile.TarInfo(name)
    entry.size, entry.mode = len(content), 0o644
    archive.addfile(entry, io.BytesIO(content))


def _pip_config(environ: Mapping[str, str]) -> str:
    """The index options of this machine's pip, without those that name its own directories."""
    found: dict[str, str] = {}
    home = Path(environ.get("HOME", "/root"))
    for path in (Path("/etc/pip.conf"), home / ".pip/pip.conf", home / ".config/pip/pip.conf"):
        found |= _index_options(path)
    for option in INDEX_OPTIONS:
        found |= _without_files(
            {option: environ.get(f"PIP_{option.replace('-', '_').upper()}", "")}
        )
    return "\n".join(["[global]", *(f"{name} = {value}" for name, value in found.items()), ""])


def _index_options(path: Path) -> dict[str, str]:
    parser = configparser.RawConfigParser()
    try:
        parser.read(path)
    except (configparser.Error, UnicodeDecodeError):
        return {}
    section = dict(parser.items("global")) if parser.has_section("global") else {}
    return _without_files({name: section.get(name, "") for name in INDEX_OPTIONS})


def _without_files(options: dict[str, str]) -> dict[str, str]:
    """A `file:` index of this machine means nothing inside a build."""
    cleaned = {
        name: " ".join(part for part in value.split() if not part.startswith("file:"))
        for name, value in options.items()
    }
    return {name: value for name, value in cleaned.items() if value}
