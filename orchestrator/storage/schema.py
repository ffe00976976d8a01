"""Every version of the schema, oldest first, in SQL that SQLite and PostgreSQL both understand.

A migration that was released is never changed: what comes later is a new one at the end.
What each database says in its own way stands in braces, and its engine's `dialect` fills it in:
`{serial}` a growing primary key, `{bytes}` a column of bytes, `{refused}` and
`{refused_unless_last}` what a trigger of the audit log does. A statement of which nothing is left
is none.
"""

import msgspec


class Migration(msgspec.Struct, frozen=True):
    version: int
    name: str
    statements: tuple[str, ...]


SESSIONS = Migration(
    1,
    "sessions and their events",
    (
        """CREATE TABLE sessions (
            id TEXT NOT NULL PRIMARY KEY,
            owner TEXT NOT NULL,
            title TEXT NOT NULL,
            profile TEXT NOT NULL,
            state TEXT NOT NULL,
            created_at TEXT NOT NULL,
            updated_at TEXT NOT NULL,
            model TEXT NOT NULL,
            permission_mode TEXT NOT NULL,
            usage TEXT NOT NULL,
            cost_usd DOUBLE PRECISION NOT NULL,
            context_used BIGINT NOT NULL,
            context_window BIGINT NOT NULL,
            sandbox_id TEXT,
            ending TEXT,
            idempotency_key TEXT
        )""",
        "CREATE UNIQUE INDEX sessions_by_key ON sessions (owner, idempotency_key)",
        "CREATE INDEX sessions_by_owner ON sessions (owner, created_at, id)",
        "CREATE INDEX sessions_by_state ON sessions (state)",
        """CREATE TABLE events (
            id {serial},
            session TEXT NOT NULL REFERENCES sessions (id) ON DELETE CASCADE,
            seq BIGINT NOT NULL,
            at TEXT NOT NULL,
            tag TEXT NOT NULL,
            body TEXT NOT NULL,
            client_id TEXT,
            sandbox_n BIGINT
        )""",
        "CREATE UNIQUE INDEX events_by_seq ON events (session, seq)",
        "CREATE UNIQUE INDEX events_by_client_id ON events (session, client_id)",
    ),
)

ACCOUNTS = Migration(
    2,
    "users and their sign-ins",
    (
        """CREATE TABLE users (
            id TEXT NOT NULL PRIMARY KEY,
            name TEXT NOT NULL UNIQUE,
            role TEXT NOT NULL,
            created_at DOUBLE PRECISION NOT NULL,
            password_hash TEXT,
            disabled BOOLEAN NOT NULL,
            version BIGINT NOT NULL,
            last_sign_in_at DOUBLE PRECISION
        )""",
        """CREATE TABLE sign_ins (
            id TEXT NOT NULL PRIMARY KEY,
            user_id TEXT NOT NULL REFERENCES users (id) ON DELETE CASCADE,
            device TEXT NOT NULL,
            created_at DOUBLE PRECISION NOT NULL,
            expires_at DOUBLE PRECISION NOT NULL,
            revoked TEXT
        )""",
        "CREATE INDEX sign_ins_by_user ON sign_ins (user_id)",
        "CREATE INDEX sign_ins_by_end ON sign_ins (expires_at)",
        """CREATE TABLE refresh_tokens (
            id TEXT NOT NULL PRIMARY KEY,
            secret_hash TEXT NOT NULL,
            sign_in TEXT NOT NULL REFERENCES sign_ins (id) ON DELETE CASCADE,
            issued_at DOUBLE PRECISION NOT NULL,
            expires_at DOUBLE PRECISION NOT NULL,
            parent TEXT,
            used_at DOUBLE PRECISION,
            successor TEXT
        )""",
        "CREATE INDEX refresh_tokens_by_sign_in ON refresh_tokens (sign_in)",
        """CREATE TABLE sign_in_links (
            id TEXT NOT NULL PRIMARY KEY,
            secret_hash TEXT NOT NULL,
            user_id TEXT NOT NULL REFERENCES users (id) ON DELETE CASCADE,
            created_at DOUBLE PRECISION NOT NULL,
            expires_at DOUBLE PRECISION NOT NULL,
            used_at DOUBLE PRECISION
        )""",
        "CREATE INDEX sign_in_links_by_user ON sign_in_links (user_id)",
    ),
)

POOLS = Migration(
    3,
    "sizes of the pools",
    (
        """CREATE TABLE pool_sizes (
            profile TEXT NOT NULL PRIMARY KEY,
            min_size BIGINT NOT NULL,
            max_size BIGINT NOT NULL
        )""",
    ),
)

AUDIT = Migration(
    4,
    "the audit log, which is only appended to",
    (
        """CREATE TABLE audit (
            seq BIGINT NOT NULL PRIMARY KEY,
            at TEXT NOT NULL,
            actor TEXT NOT NULL,
            action TEXT NOT NULL,
            object TEXT NOT NULL,
            result TEXT NOT NULL,
            address TEXT NOT NULL,
            detail TEXT NOT NULL,
            prev TEXT NOT NULL,
            hash TEXT NOT NULL
        )""",
        "CREATE INDEX audit_by_action ON audit (action, seq)",
        "CREATE INDEX audit_by_actor ON audit (actor, seq)",
        "CREATE TRIGGER audit_not_updated BEFORE UPDATE ON audit {refused}",
        "CREATE TRIGGER audit_not_deleted BEFORE DELETE ON audit {refused}",
        "CREATE TRIGGER audit_only_appended BEFORE INSERT ON audit {refused_unless_last}",
    ),
)

REFUSED_HOSTS = Migration(
    5,
    "hosts that sandboxes may not reach",
    (
        """CREATE TABLE refused_hosts (
            id {serial},
            profile TEXT NOT NULL,
            host TEXT NOT NULL,
            port BIGINT NOT NULL,
            tag TEXT NOT NULL,
            times BIGINT NOT NULL,
            first_at TEXT NOT NULL,
            last_at TEXT NOT NULL
        )""",
        "CREATE UNIQUE INDEX refused_hosts_by_key ON refused_hosts (profile, host, port, tag)",
        """CREATE TABLE refused_host_drops (
            profile TEXT NOT NULL PRIMARY KEY,
            times BIGINT NOT NULL
        )""",
    ),
)

WAKING = Migration(
    6,
    "sessions that go on in another sandbox",
    (
        "ALTER TABLE sessions ADD COLUMN agent_session_id TEXT NOT NULL DEFAULT ''",
        "ALTER TABLE sessions ADD COLUMN branch BIGINT NOT NULL DEFAULT 0",
        "ALTER TABLE sessions ADD COLUMN deaths BIGINT NOT NULL DEFAULT 0",
        "ALTER TABLE sessions ADD COLUMN checkpoint_id TEXT NOT NULL DEFAULT ''",
        "ALTER TABLE sessions ADD COLUMN checkpoint_at TEXT NOT NULL DEFAULT ''",
        "CREATE INDEX events_by_tag ON events (session, tag, seq)",
    ),
)

TRANSCRIPTS = Migration(
    7,
    "transcripts, by branch",
    (
        # What was said, once. It stays for as long as its session: an older branch may hold it.
        """CREATE TABLE transcript_texts (
            id {serial},
            session TEXT NOT NULL REFERENCES sessions (id) ON DELETE CASCADE,
            sandbox TEXT,
            n BIGINT,
            part BIGINT NOT NULL,
            size BIGINT NOT NULL,
            summary {bytes},
            text {bytes} NOT NULL
        )""",
        "CREATE UNIQUE INDEX transcript_texts_by_n ON transcript_texts (session, sandbox, n, part)",
        "CREATE INDEX transcript_texts_by_session ON transcript_texts (session, size)",
        # Which branch holds it under which key, until the text `gone` came.
        """CREATE TABLE transcript_batches (
            id {serial},
            session TEXT NOT NULL REFERENCES sessions (id) ON DELETE CASCADE,
            branch BIGINT NOT NULL,
            project TEXT NOT NULL,
            agent_session TEXT NOT NULL,
            subpath TEXT NOT NULL,
            text_id BIGINT NOT NULL,
            size BIGINT NOT NULL,
            mtime BIGINT NOT NULL,
            summarised BOOLEAN NOT NULL,
            gone BIGINT
        )""",
        """CREATE UNIQUE INDEX transcript_batches_by_key ON transcript_batches
            (session, branch, project, agent_session, subpath, text_id)""",
        """CREATE UNIQUE INDEX transcript_batches_by_position ON transcript_batches
            (session, branch, text_id)""",
    ),
)

CHECKPOINTS = Migration(
    8,
    "checkpoints",
    (
        """CREATE TABLE checkpoints (
            id TEXT NOT NULL PRIMARY KEY,
            session TEXT NOT NULL REFERENCES sessions (id) ON DELETE CASCADE,
            created_at TEXT NOT NULL,
            seq BIGINT NOT NULL,
            turn_id TEXT,
            blob TEXT NOT NULL,
            size BIGINT NOT NULL,
            unpacked BIGINT NOT NULL,
            entries BIGINT NOT NULL,
            omitted BIGINT NOT NULL,
            fingerprint TEXT NOT NULL,
            agent_session_id TEXT NOT NULL,
            branch BIGINT NOT NULL,
            position BIGINT NOT NULL
        )""",
        "CREATE INDEX checkpoints_by_session ON checkpoints (session, created_at, id)",
        "CREATE INDEX checkpoints_by_blob ON checkpoints (blob)",
    ),
)

AUDIT_NOT_EMPTIED = Migration(9, "the audit log is not emptied either", ("{audit_not_emptied}",))

MIGRATIONS = (
    *(SESSIONS, ACCOUNTS, POOLS, AUDIT, REFUSED_HOSTS),
    *(WAKING, TRANSCRIPTS, CHECKPOINTS, AUDIT_NOT_EMPTIED),
)
