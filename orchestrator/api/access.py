"""Who may call what: the one table. A route that is not in it is closed to everybody."""

from collections.abc import Mapping
from enum import Enum

from orchestrator.accounts.ports import Role


class Access(Enum):
    PUBLIC = "anybody"
    SIGNED_IN = "anybody who is signed in"
    STAFF = "operators and administrators"
    ADMIN = "administrators"
    STREAM = "anybody who is signed in; the socket answers for itself, with a close code"
    METRICS = "staff, or the holder of the metrics token"

    def admits(self, role: Role) -> bool:
        match self:
            case Access.ADMIN:
                return role == "admin"
            case Access.STAFF | Access.METRICS:
                return role in {"admin", "operator"}
            case _:
                return True


_PUBLIC = (
    "page",
    "page_file",
    "unknown_api_path",
    "openapi",
    "health_live",
    "health_ready",
    "login",
    "login_with_link",
    "get_token",
    "refresh",
    "logout",
)
_SIGNED_IN = (
    "me",
    "choose_password",
    "about",
    "list_profiles",
    "create_session",
    "list_sessions",
    "get_session",
    "rename_session",
    "delete_session",
    "end_session",
    "list_events",
    "follow_events",
    "send_prompt",
    "remove_prompt",
    "stop_turn",
    "decide_permission",
    "answer_question",
    "choose_model",
    "choose_permission_mode",
    "run_again",
    "let_go",
    "hibernate_session",
    "wake_session",
    "list_files",
    "download_file",
    "upload_file",
    "download_archive",
    "list_checkpoints",
    "download_checkpoint",
    "take_checkpoint",
    "go_back",
)
_STAFF = ("list_pools", "list_users", "list_refused_hosts")
_ADMIN = ("resize_pool", "add_user", "change_user", "create_user_link", "list_audit")

ACCESS: Mapping[str, Access] = {
    **dict.fromkeys(_PUBLIC, Access.PUBLIC),
    **dict.fromkeys(_SIGNED_IN, Access.SIGNED_IN),
    **dict.fromkeys(_STAFF, Access.STAFF),
    **dict.fromkeys(_ADMIN, Access.ADMIN),
    "chat_socket": Access.STREAM,
    "metrics": Access.METRICS,
}
"""By the route's name, which is its operation id too."""
