"""Every setting, one frozen struct per concern, read once from the environment.

`CASEMATE_<SECTION>_<FIELD>` sets a field; `…_FILE` reads its value from a file, for secrets that
are mounted. The structs live with what they configure; this file composes and reads them. Only the
composition root and the command line import it.
"""

import difflib
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import msgspec

from orchestrator.accounts.audit_settings import AuditSettings
from orchestrator.accounts.settings import AccountsSettings
from orchestrator.api.settings import ApiSettings
from orchestrator.gateway.egress.settings import EgressSettings
from orchestrator.gateway.settings import GatewaySettings
from orchestrator.protocol.secret import Secret
from orchestrator.sandboxes.settings import (
    BrokerSettings,
    EngineSettings,
    LinkSettings,
    PoolSettings,
    SlotSettings,
)
from orchestrator.sessions.files.limits import FileLimits
from orchestrator.sessions.limits import SessionLimits
from orchestrator.storage.blob_settings import BlobSettings
from orchestrator.storage.settings import StorageSettings
from orchestrator.telemetry.settings import TelemetrySettings

PREFIX = "CASEMATE_"
ALIASES = {
    "ANTHROPIC_API_KEY": "CASEMATE_MODEL_API_KEY",
    "ANTHROPIC_AUTH_TOKEN": "CASEMATE_MODEL_AUTH_TOKEN",
    "ANTHROPIC_BASE_URL": "CASEMATE_GATEWAY_UPSTREAM_URL",
    "CASEMATE_HOST": "CASEMATE_SERVER_HOST",
    "CASEMATE_PORT": "CASEMATE_SERVER_PORT",
}
"""Shorter or customary names for the settings that nearly everybody sets."""


class ServerSettings(msgspec.Struct, frozen=True, kw_only=True):
    """Where Casemate listens and keeps its files."""

    host: str = "127.0.0.1"
    """Address to listen on. Loopback by default: put a TLS proxy in front before you widen it."""
    port: int = 8080
    """TCP port of the page and the API."""
    public_url: str = ""
    """How browsers reach Casemate, e.g. `https://claude.example.org`. Empty: `http://host:port`."""
    data_dir: Path = Path("data")
    """Directory of the database, the signing keys and the instance's id. Back this up."""
    shutdown_seconds: float = 10.0
    """How long a shutdown may take before what is left is cut off."""

    @property
    def url(self) -> str:
        """The page's address, without a trailing slash."""
        return (self.public_url or f"http://{self.host}:{self.port}").rstrip("/")


class ModelSettings(msgspec.Struct, frozen=True, kw_only=True):
    """The key to the model API. The gateway alone sends it; no sandbox ever sees it."""

    api_key: Secret = Secret("")
    """`ANTHROPIC_API_KEY`. Without a key a scripted model answers, and the page says so."""
    auth_token: Secret = Secret("")
    """`ANTHROPIC_AUTH_TOKEN`: sent as a bearer token instead, for gateways that want one."""
    default: str = "claude-sonnet-4-5"
    """The model of profiles that name none."""

    @property
    def has_key(self) -> bool:
        return bool(self.api_key) or bool(self.auth_token)


class ProfilesSettings(msgspec.Struct, frozen=True, kw_only=True):
    """The recipes that people choose from."""

    path: Path | None = None
    """A TOML file with a table `[[profile]]` each; see docs/operating.md. Without one there is the
    profile `default`."""


class Settings(msgspec.Struct, frozen=True, kw_only=True):
    server: ServerSettings = ServerSettings()
    model: ModelSettings = ModelSettings()
    profiles: ProfilesSettings = ProfilesSettings()
    engine: EngineSettings = EngineSettings()
    slots: SlotSettings = SlotSettings()
    broker: BrokerSettings = BrokerSettings()
    link: LinkSettings = LinkSettings()
    pool: PoolSettings = PoolSettings()
    gateway: GatewaySettings = GatewaySettings()
    egress: EgressSettings = EgressSettings()
    sessions: SessionLimits = SessionLimits()
    files: FileLimits = FileLimits()
    accounts: AccountsSettings = AccountsSettings()
    audit: AuditSettings = AuditSettings()
    api: ApiSettings = ApiSettings()
    storage: StorageSettings = StorageSettings()
    blobs: BlobSettings = BlobSettings()
    telemetry: TelemetrySettings = TelemetrySettings()


class BadSetting(ValueError):
    """A setting that cannot be used; the message names the variable and never its value."""


def load_settings(environment: Mapping[str, str]) -> Settings:
    """Read and check every setting. Raises BadSetting for an unknown name or a value that does not
    fit, so that a typing error is found at the start and not in the night."""
    given = _resolve_aliases(environment)
    known: dict[str, tuple[str, msgspec.structs.FieldInfo]] = {}
    for section in msgspec.structs.fields(Settings):
        for field in msgspec.structs.fields(section.type):
            known[variable(section.name, field.name)] = (section.name, field)
    values: dict[str, dict[str, Any]] = {}
    for name, text in given.items():
        if name not in known:
            raise BadSetting(_unknown(name, list(known)))
        section_name, field = known[name]
        values.setdefault(section_name, {})[field.name] = _convert(name, text, field.type)
    return _compose(values)


def variable(section: str, field: str) -> str:
    """The environment variable of a field."""
    return f"{PREFIX}{section}_{field}".upper()


def environment_of(settings: Settings, sections: Iterable[str]) -> dict[str, str]:
    """The variables from which `load_settings` reads these sections again, for another process.
    What is as by default is left out. Raises BadSetting for a secret: it goes to no other process.
    """
    given: dict[str, str] = {}
    for name in sections:
        section = getattr(settings, name)
        for field in msgspec.structs.fields(section):
            value = getattr(section, field.name)
            if isinstance(value, Secret):
                raise BadSetting(f"{variable(name, field.name)} is secret.")
            if value is not None and value != field.default:
                given[variable(name, field.name)] = _text(value)
    return given


def _text(value: Any) -> str:
    return ",".join(map(str, value)) if isinstance(value, list | tuple) else str(value)


def _resolve_aliases(environment: Mapping[str, str]) -> dict[str, str]:
    given: dict[str, str] = {}
    for raw_name, text in environment.items():
        name, value = _from_file(raw_name, text)
        name = ALIASES.get(name, name)
        if name.startswith(PREFIX) and value != "":
            given[name] = value
    return given


def _from_file(name: str, text: str) -> tuple[str, str]:
    bare = name.removesuffix("_FILE")
    if bare == name or not (name.startswith(PREFIX) or bare in ALIASES):
        return name, text
    try:
        return bare, Path(text).read_text().strip()
    except (OSError, UnicodeDecodeError) as error:
        raise BadSetting(f"{name}: the file that it names cannot be read.") from error


def _convert(name: str, text: str, type_: Any) -> Any:
    origin = getattr(type_, "__origin__", type_)
    value: Any = (
        [part.strip() for part in text.split(",") if part.strip()]
        if origin in {list, tuple, frozenset}
        else text
    )
    try:
        return msgspec.convert(value, type_, strict=False, dec_hook=lambda kind, item: kind(item))
    except (msgspec.ValidationError, ValueError, TypeError) as error:
        raise BadSetting(f"{name}: {error}.") from error


def _compose(values: dict[str, dict[str, Any]]) -> Settings:
    sections: dict[str, Any] = {}
    for section in msgspec.structs.fields(Settings):
        try:
            sections[section.name] = section.type(**values.get(section.name, {}))
        except ValueError as error:
            raise BadSetting(f"{PREFIX}{section.name.upper()}_*: {error}") from error
    settings = Settings(**sections)
    if settings.slots.uids < settings.pool.host_maximum:
        uids, most = variable("slots", "uids"), variable("pool", "host_maximum")
        raise BadSetting(f"{uids}: each sandbox needs one, so there must be as many as {most}.")
    return settings


def _unknown(name: str, known: list[str]) -> str:
    near = difflib.get_close_matches(name, known, n=1)
    hint = f" Did you mean {near[0]}?" if near else ""
    return f"{name}: there is no such setting.{hint}"
