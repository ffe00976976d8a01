"""The bodies of requests and answers that are not the chat's own. Unknown fields are refused."""

from datetime import UTC, datetime
from typing import Annotated, Any, Literal

import msgspec

from orchestrator.accounts.ports import Role, User
from orchestrator.accounts.service import Admission, Principal
from orchestrator.protocol.chat import SequencedEvent
from orchestrator.protocol.commands import PermissionDecision
from orchestrator.protocol.event_parts import PermissionMode
from orchestrator.protocol.ids import ClientId, ProfileName

Meta = msgspec.Meta


class Request(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What a client sends. Misspelt and smuggled fields are errors."""


class Answer(msgspec.Struct, frozen=True, kw_only=True):
    """What a client gets."""


def rfc3339(at: float) -> str:
    """UTC, with milliseconds."""
    return datetime.fromtimestamp(at, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


# --- signing in ------------------------------------------------------------------------------

Password = Annotated[str, Meta(max_length=4096, description="1 KiB at most counts.")]


class Credentials(Request, frozen=True, kw_only=True):
    username: Annotated[str, Meta(max_length=256, examples=["ada"])]
    password: Password


class LinkCode(Request, frozen=True, kw_only=True):
    code: Annotated[str, Meta(max_length=256, description="What stands behind `#link=`.")]


class RefreshWish(Request, frozen=True, kw_only=True):
    refresh_token: Annotated[str, Meta(max_length=256)] | None = None
    """For programs. Browsers send the cookie."""


class NewPassword(Request, frozen=True, kw_only=True):
    new: Password
    current: Password | None = None
    """Needed where there is one."""


class UserView(Answer, frozen=True, kw_only=True):
    id: str
    name: str
    role: Role


class Me(UserView, frozen=True, kw_only=True):
    has_password: bool
    access_expires_at: str
    """RFC 3339. Refresh before that, to keep streams open without a gap."""


class TokenPair(Answer, frozen=True, kw_only=True):
    access_token: str
    refresh_token: str
    """Good for one use; each refresh gives the next."""
    expires_in: int
    """Seconds, of the access token."""
    refresh_expires_in: int
    user: UserView
    token_type: Literal["Bearer"] = "Bearer"  # noqa: S105  # a kind of token, not a token


def user_view(principal: Principal) -> UserView:
    return UserView(id=principal.user, name=principal.name, role=principal.role)


def me(principal: Principal) -> Me:
    return Me(
        id=principal.user,
        name=principal.name,
        role=principal.role,
        has_password=principal.has_password,
        access_expires_at=rfc3339(principal.expires_at),
    )


def token_pair(admission: Admission, *, now: float) -> TokenPair:
    return TokenPair(
        access_token=admission.access_token,
        refresh_token=admission.refresh_token,
        expires_in=max(0, int(admission.access_expires_at - now)),
        refresh_expires_in=max(0, int(admission.refresh_expires_at - now)),
        user=user_view(admission.principal),
    )


# --- sessions --------------------------------------------------------------------------------


class SessionWish(Request, frozen=True, kw_only=True):
    profile: Annotated[ProfileName, Meta(max_length=100, examples=["default"])] | None = None
    """Left out: the first one of `GET /profiles`."""
    title: Annotated[str, Meta(min_length=1, max_length=200)] | None = None
    """Left out: the first line of the first prompt."""


class NewTitle(Request, frozen=True, kw_only=True):
    title: Annotated[str, Meta(min_length=1, max_length=200)]


class PromptWish(Request, frozen=True, kw_only=True):
    text: Annotated[str, Meta(min_length=1, examples=["Which tests fail, and why?"])]
    client_id: Annotated[ClientId, Meta(min_length=1, max_length=64)] | None = None
    """Made by the client: sent twice, the prompt runs once."""


class PromptReceipt(Answer, frozen=True, kw_only=True):
    client_id: str
    """Names the prompt in the session's events."""


class Decision(Request, frozen=True, kw_only=True):
    """A person's answer to a permission request, with the chat's fields."""

    choice: Literal["allow", "allow_always", "deny", "deny_and_stop"]
    input_hash: Annotated[str, Meta(min_length=1, max_length=128)]
    """The request's own: the decision holds for what was shown, and for nothing else."""
    updated_input: dict[str, Any] | None = None
    suggestions: Annotated[list[int], Meta(max_length=100)] | None = None
    reason: Annotated[str, Meta(max_length=10_000)] = ""

    def as_command(self) -> PermissionDecision:
        return PermissionDecision(
            choice=self.choice,
            input_hash=self.input_hash,
            updated_input=self.updated_input,
            suggestions=self.suggestions,
            reason=self.reason,
        )


class Answers(Request, frozen=True, kw_only=True):
    answers: Annotated[dict[str, str], Meta(max_length=100)]
    """Each question's text, and its answer."""


class ModelWish(Request, frozen=True, kw_only=True):
    model: Annotated[str, Meta(min_length=1, max_length=200)]


class PermissionModeWish(Request, frozen=True, kw_only=True):
    mode: PermissionMode


class EventPage(Answer, frozen=True, kw_only=True):
    events: list[SequencedEvent]
    """Oldest first. The union of events is described in the protocol's page."""
    earlier: bool
    """There are more before these."""


# --- profiles, pools, users, about -------------------------------------------------------------


class LifetimesView(Answer, frozen=True, kw_only=True):
    """When a session rests and ends, in seconds, null for never; and from which part of what it has
    (memory, home, workspace) something is done about it."""

    freeze_after: float | None
    hibernate_after: float | None
    turn: float | None
    sandbox: float | None
    session: float | None
    keep: float | None
    memory_soft: float
    memory_hard: float
    storage_soft: float


class ProfileView(Answer, frozen=True, kw_only=True):
    name: str
    title: str
    description: str
    model: str
    models: list[str]
    """Exact ids, or a prefix that ends in `*`."""
    permission_mode: str
    lifetimes: LifetimesView
    unfinished: Literal["offer", "run"]
    """What happens to a prompt whose sandbox died: its person is asked, or it is run again."""
    checkpoints_kept: int
    """Of one session, the latest ones."""


class PoolMemberView(Answer, frozen=True, kw_only=True):
    sandbox_id: str
    state: str
    age_seconds: float
    version: str
    memory_bytes: int = 0
    memory_limit: int = 0


class PoolView(Answer, frozen=True, kw_only=True):
    """`min` are kept ready and unclaimed; `max` is the ceiling, claimed ones included."""

    profile: str
    min: int
    max: int
    ready: int
    starting: int
    claimed: int
    waiting: int
    stale: int = 0
    """Unclaimed and about to be replaced."""
    leaving: int = 0
    """On their way out."""
    image_version: str = ""
    members: list[PoolMemberView] = []
    counters: dict[str, int] = {}
    last_error: str | None = None
    """Why the last start failed, in a sentence."""
    last_output: list[str] = []
    """Its last lines. Written inside a sandbox: show them as plain text."""
    retry_in: float = 0.0
    """Seconds until the next start is tried after failures."""


class SessionFiguresView(Answer, frozen=True, kw_only=True):
    """Of everybody's sessions together."""

    awake: int
    """With a sandbox, or about to have one."""
    frozen: int
    """Of those: idle, their programs stopped."""
    hibernated: int
    """Without a sandbox, until somebody wakes them."""
    adopted: int
    """Went on in their own sandbox when this control plane was started."""


class PoolList(Answer, frozen=True, kw_only=True):
    pools: list[PoolView]
    sessions: SessionFiguresView


class PoolSizes(Request, frozen=True, kw_only=True):
    min: Annotated[int, Meta(ge=0, le=1000)]
    max: Annotated[int, Meta(ge=0, le=1000)]


class ManagedUser(UserView, frozen=True, kw_only=True):
    disabled: bool
    has_password: bool
    created_at: str
    last_seen_at: str | None
    """The last sign-in."""


def managed_user(user: User) -> ManagedUser:
    seen = user.last_sign_in_at
    return ManagedUser(
        id=user.id,
        name=user.name,
        role=user.role,
        disabled=user.disabled,
        has_password=user.password_hash is not None,
        created_at=rfc3339(user.created_at),
        last_seen_at=rfc3339(seen) if seen is not None else None,
    )


class UserList(Answer, frozen=True, kw_only=True):
    users: list[ManagedUser]
    next_cursor: str | None


class NewUser(Request, frozen=True, kw_only=True):
    name: Annotated[str, Meta(min_length=1, max_length=64, examples=["grace"])]
    role: Role = "user"
    password: Password | None = None
    """Left out: the user chooses one after signing in with a link."""


class UserChange(Request, frozen=True, kw_only=True):
    role: Role | None = None
    disabled: bool | None = None


class LinkWish(Request, frozen=True, kw_only=True):
    forget_password: bool = False
    """For somebody who lost theirs: it is void at once, and so are their sign-ins."""


class LinkView(Answer, frozen=True, kw_only=True):
    url: str
    """Signs the user in once. Shown this one time."""
    expires_at: str


class About(Answer, frozen=True, kw_only=True):
    version: str
    model: Literal["scripted", "real"]
    """`scripted`: no key is set, answers come from a script."""
    notices: list[str]
    """Sentences that the page shows to everybody."""
    profiles: list[ProfileView]


class CheckView(Answer, frozen=True, kw_only=True):
    name: str
    status: Literal["ok", "degraded", "failed"]
    sentence: str = ""


class HealthView(Answer, frozen=True, kw_only=True):
    status: Literal["ok", "degraded", "failed"]
    checks: list[CheckView] = []
