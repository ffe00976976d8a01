"""The image of the control plane and its broker, for running both in containers (compose.yaml).

Built when it is missing or of other content than would be built now. It starts from the same Debian
as the sandbox image, so that where no registry answers there is one base to make and not two.
"""

from collections.abc import Mapping

from orchestrator import __version__
from orchestrator.sandboxes import image_engine
from orchestrator.sandboxes.image_base import ImageBuildFailed, provide_base
from orchestrator.sandboxes.image_context import host_network, packed
from orchestrator.sandboxes.image_engine import BuiltImage
from orchestrator.sandboxes.image_version import SYSTEM_PACKAGES, VERSION_LABEL, version_of
from orchestrator.setup.checkout import Checkout
from orchestrator.setup.errors import ImageNotBuilt
from orchestrator.setup.file_lock import file_lock
from orchestrator.setup.progress import Progress

TAG = "casemate:current"
PACKAGES = ("ca-certificates", "python3", "python3-pip-whl")
UNNEEDED = (
    *(package for package in SYSTEM_PACKAGES if package not in PACKAGES),
    *("python3-pip-whl", "git-man", "liberror-perl", "libjq1", "libonig5"),
    *("libcurl3-gnutls", "libcurl4", "libssh2-1", "librtmp1", "libldap-2.5-0", "libsasl2-2"),
    *("libsasl2-modules-db", "libpsl5", "libbrotli1", "libnghttp2-14"),
    *("usrmerge", "perl", "perl-modules-5.36", "libperl5.36", "libfile-find-rule-perl"),
    *("libnumber-compare-perl", "libtext-glob-perl"),
)
"""What the base may have, being the sandboxes', and a service has no use for."""
IMAGE_FILES = "orchestrator/setup/control-plane-image"
CODE_SUFFIXES = (".py", ".json")
BUILD_FILES = ("Dockerfile", "tidy.sh", "casemate", "healthy.py")


def ensure_service_image(
    checkout: Checkout, *, base: str, environment: Mapping[str, str], progress: Progress
) -> None:
    """Build it if it is stale; the web page must be there. Raises ImageNotBuilt."""
    try:
        with file_lock(checkout.cache / "service-image.lock"):
            if is_stale(checkout):
                _build(checkout, base=base, environment=environment, progress=progress)
    except ImageBuildFailed as error:
        raise ImageNotBuilt(error.sentence, advice=error.advice) from error
    except OSError as error:
        sentence = f"A file for the control plane's image cannot be read: {error}."
        raise ImageNotBuilt(sentence) from error


def is_stale(checkout: Checkout) -> bool:
    """Raises ImageBuildFailed without a Docker engine."""
    image = image_engine.image_tagged(TAG)
    return image is None or image.version != _version(image_files(checkout))


def image_files(checkout: Checkout) -> dict[str, bytes]:
    """What the image is made of, by its path in the build context."""
    own = checkout.root / IMAGE_FILES
    files = {name: own / name for name in BUILD_FILES}
    files["requirements.txt"] = checkout.root / "requirements" / "run.txt"
    code = (p for p in (checkout.root / "orchestrator").rglob("*") if p.suffix in CODE_SUFFIXES)
    page = (p for p in checkout.page.rglob("*") if p.is_file())
    files |= {
        f"code/{path.relative_to(checkout.root).as_posix()}": path
        for path in (*code, *page)
        if path.parent != own
    }
    return {name: files[name].read_bytes() for name in sorted(files)} | _metadata()


def _metadata() -> dict[str, bytes]:
    """By which `casemate version` finds what is installed."""
    about = f"Metadata-Version: 2.1\nName: casemate\nVersion: {__version__}\n"
    return {f"code/casemate-{__version__}.dist-info/METADATA": about.encode()}


def _version(files: Mapping[str, bytes]) -> str:
    return version_of(files, packages=(*PACKAGES, *UNNEEDED))


def _build(
    checkout: Checkout, *, base: str, environment: Mapping[str, str], progress: Progress
) -> BuiltImage:
    files, network = image_files(checkout), host_network(environment)
    version = _version(files)
    with (
        progress.step("Building the control plane's image") as step,
        image_engine.docker_client() as client,
    ):
        reference = provide_base(client, base=base, packages=SYSTEM_PACKAGES, on_progress=step.say)
        arguments = {
            "BASE": reference,
            "PACKAGES": " ".join(PACKAGES),
            "UNNEEDED": " ".join(UNNEEDED),
        }
        image = image_engine.build(
            client,
            packed(files, network),
            arguments=arguments | network.proxies,
            labels={VERSION_LABEL: version, "casemate.image": "service"},
            tag=TAG,
            on_progress=step.say,
        )
    progress.note(f"  {image.tag}: {image.size_bytes / 1e6:.0f} MB, version {version[:12]}")
    return image
