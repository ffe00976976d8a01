"""Every version of the schema, oldest first, in SQL that SQLite and PostgreSQL both understand.

A migration that was released is never changed: what comes later is a new one at the end.
`{serial}` is the database's own way to say a growing primary key; `{refused}` and
`{refused_unless_last}` are what a trigger of the audit log does.
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

MIGRATIONS = (SESSIONS, ACCOUNTS, POOLS, AUDIT, REFUSED_HOSTS)
