"""Where a page of sessions ends, as an opaque text. Pure."""

import base64
import binascii

import msgspec

from orchestrator.protocol.ids import SessionId
from orchestrator.sessions.errors import BadCursor


def encode_cursor(created_at: str, session: SessionId) -> str:
    return base64.urlsafe_b64encode(msgspec.json.encode((created_at, session))).decode()


def decode_cursor(cursor: str) -> tuple[str, SessionId]:
    """Raises BadCursor."""
    try:
        raw = base64.urlsafe_b64decode(cursor.encode())
        created_at, session = msgspec.json.decode(raw, type=tuple[str, str])
    except (binascii.Error, UnicodeError, msgspec.DecodeError, ValueError) as error:
        raise BadCursor from error
    return created_at, SessionId(session)
