"""The tables as Piccolo sees them. Their SQL is in `schema`, which the migrations run.

A table belongs to one engine, and there is no engine at import time: `bind` makes the tables of
one.
"""

import types
from typing import Any, TypeVar, cast

import msgspec
from piccolo.columns import BigInt, Boolean, Bytea, DoublePrecision, Text
from piccolo.engine.base import Engine
from piccolo.table import Table


class SessionRow(Table, tablename="sessions"):
    id = Text(primary_key=True, default="")
    owner = Text()
    title = Text()
    profile = Text()
    state = Text()
    created_at = Text()
    updated_at = Text()
    model = Text()
    permission_mode = Text()
    usage = Text()
    """JSON of `Usage`."""
    cost_usd = DoublePrecision()
    context_used = BigInt()
    context_window = BigInt()
    sandbox_id = Text(null=True, default=None)
    ending = Text(null=True, default=None)
    """JSON of `Ending`."""
    idempotency_key = Text(null=True, default=None)
    agent_session_id = Text()
    branch = BigInt()
    deaths = BigInt()
    checkpoint_id = Text()
    checkpoint_at = Text()


class EventRow(Table, tablename="events"):
    session = Text()
    seq = BigInt()
    at = Text()
    tag = Text()
    body = Text()
    """JSON, as it goes to the browsers."""
    client_id = Text(null=True, default=None)
    sandbox_n = BigInt(null=True, default=None)


class PoolSizeRow(Table, tablename="pool_sizes"):
    profile = Text(primary_key=True, default="")
    min_size = BigInt()
    max_size = BigInt()


class UserRow(Table, tablename="users"):
    id = Text(primary_key=True, default="")
    name = Text()
    role = Text()
    created_at = DoublePrecision()
    password_hash = Text(null=True, default=None)
    disabled = Boolean()
    version = BigInt()
    last_sign_in_at = DoublePrecision(null=True, default=None)


class SignInRow(Table, tablename="sign_ins"):
    id = Text(primary_key=True, default="")
    user_id = Text()
    device = Text()
    created_at = DoublePrecision()
    expires_at = DoublePrecision()
    revoked = Text(null=True, default=None)


class RefreshTokenRow(Table, tablename="refresh_tokens"):
    id = Text(primary_key=True, default="")
    secret_hash = Text()
    """Hexadecimal."""
    sign_in = Text()
    issued_at = DoublePrecision()
    expires_at = DoublePrecision()
    parent = Text(null=True, default=None)
    used_at = DoublePrecision(null=True, default=None)
    successor = Text(null=True, default=None)


class SignInLinkRow(Table, tablename="sign_in_links"):
    id = Text(primary_key=True, default="")
    secret_hash = Text()
    """Hexadecimal."""
    user_id = Text()
    created_at = DoublePrecision()
    expires_at = DoublePrecision()
    used_at = DoublePrecision(null=True, default=None)


class AuditRow(Table, tablename="audit"):
    seq = BigInt(primary_key=True, default=0)
    at = Text()
    actor = Text()
    action = Text()
    object = Text()
    result = Text()
    address = Text()
    detail = Text()
    prev = Text()
    """Hexadecimal, as `hash`."""
    hash = Text()


class RefusedHostRow(Table, tablename="refused_hosts"):
    profile = Text()
    host = Text()
    port = BigInt()
    tag = Text()
    times = BigInt()
    first_at = Text()
    last_at = Text()


class RefusedHostDropRow(Table, tablename="refused_host_drops"):
    profile = Text(primary_key=True, default="")
    times = BigInt()


class TranscriptTextRow(Table, tablename="transcript_texts"):
    session = Text()
    sandbox = Text(null=True, default=None)
    n = BigInt(null=True, default=None)
    """The sandbox's number of the batch; null where something was deleted."""
    part = BigInt()
    """A large batch is in several rows."""
    size = BigInt()
    """Bytes of the text and of the summary."""
    summary = Bytea(null=True, default=None)
    text = Bytea()


class TranscriptBatchRow(Table, tablename="transcript_batches"):
    session = Text()
    branch = BigInt()
    project = Text()
    agent_session = Text()
    subpath = Text()
    text_id = BigInt()
    """The order of a branch, and what its positions are made of."""
    size = BigInt()
    """Bytes of the text alone."""
    mtime = BigInt()
    """Milliseconds since 1970."""
    summarised = Boolean()
    """Whether the text has a summary."""
    gone = BigInt(null=True, default=None)
    """The text that replaced or removed it, and from which on it is not there any more."""


class CheckpointRow(Table, tablename="checkpoints"):
    id = Text(primary_key=True, default="")
    session = Text()
    created_at = Text()
    seq = BigInt()
    turn_id = Text(null=True, default=None)
    blob = Text()
    size = BigInt()
    unpacked = BigInt()
    entries = BigInt()
    omitted = BigInt()
    fingerprint = Text()
    agent_session_id = Text()
    branch = BigInt()
    position = BigInt()


class Tables(msgspec.Struct, frozen=True, kw_only=True):
    """The tables of one engine."""

    sessions: type[SessionRow]
    events: type[EventRow]
    pool_sizes: type[PoolSizeRow]
    users: type[UserRow]
    sign_ins: type[SignInRow]
    refresh_tokens: type[RefreshTokenRow]
    sign_in_links: type[SignInLinkRow]
    audit: type[AuditRow]
    refused_hosts: type[RefusedHostRow]
    refused_host_drops: type[RefusedHostDropRow]
    transcript_texts: type[TranscriptTextRow]
    transcript_batches: type[TranscriptBatchRow]
    checkpoints: type[CheckpointRow]


RowT = TypeVar("RowT", bound=Table)


def bind(engine: Engine[Any]) -> Tables:
    return Tables(
        sessions=_bound(SessionRow, engine),
        events=_bound(EventRow, engine),
        pool_sizes=_bound(PoolSizeRow, engine),
        users=_bound(UserRow, engine),
        sign_ins=_bound(SignInRow, engine),
        refresh_tokens=_bound(RefreshTokenRow, engine),
        sign_in_links=_bound(SignInLinkRow, engine),
        audit=_bound(AuditRow, engine),
        refused_hosts=_bound(RefusedHostRow, engine),
        refused_host_drops=_bound(RefusedHostDropRow, engine),
        transcript_texts=_bound(TranscriptTextRow, engine),
        transcript_batches=_bound(TranscriptBatchRow, engine),
        checkpoints=_bound(CheckpointRow, engine),
    )


def _bound(table: type[RowT], engine: Engine[Any]) -> type[RowT]:
    name = table._meta.tablename  # noqa: SLF001 - Piccolo's way to ask for it
    bound = types.new_class(table.__name__, (table,), {"tablename": name, "db": engine})
    return cast("type[RowT]", bound)
