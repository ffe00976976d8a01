"""The bounds on a session's files. Each says its unit and its reason."""

import msgspec

MIB = 1 << 20


class FileLimits(msgspec.Struct, frozen=True, kw_only=True):
    """Files that go into a workspace and come out of it."""

    upload_bytes: int = 200 * MIB
    """One uploaded file. A workspace has 512 MiB by default, and Claude needs some of it."""
    session_upload_bytes: int = 2048 * MIB
    """All uploads of one session together, overwritten ones included."""
    download_bytes: int = 1024 * MIB
    """One downloaded file. A file may claim more than its disk holds: it may have holes."""
    archive_bytes: int = 1024 * MIB
    """All files of one archive, before they are packed."""
    archive_entries: int = 20_000
    """Files and directories in one archive: each costs about a KiB of memory until it is done."""
    listed_entries: int = 1000
    """Entries that are shown of one directory."""
    per_session: int = 3
    """Uploads, downloads and archives at once, of one session. Less than a sandbox's
    `transfers`, so that its directories can be listed meanwhile."""
    per_user: int = 6
    """The same of one user: each holds about a MiB while it lasts."""
