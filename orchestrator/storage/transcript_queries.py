"""The SQL of the transcripts, which Piccolo's query builder would say slower or not at all."""

ADD_TEXT = (
    "INSERT INTO transcript_texts (session, sandbox, n, part, size, summary, text) "
    "VALUES ({}, {}, {}, {}, {}, {}, {}) ON CONFLICT DO NOTHING RETURNING id"
)
READ_SUMMARY = "SELECT summary FROM transcript_texts WHERE id = {}"
LAST_N = "SELECT MAX(n) AS n FROM transcript_texts WHERE session = {} AND sandbox = {}"
SIZE = "SELECT SUM(size) AS size FROM transcript_texts WHERE session = {}"

ADD_BATCH = (
    "INSERT INTO transcript_batches (session, branch, project, agent_session, subpath, "
    "text_id, size, mtime, summarised, gone) VALUES ({}, {}, {}, {}, {}, {}, {}, {}, {}, {})"
)
REMOVE_ALL = (
    "UPDATE transcript_batches SET gone = {} WHERE gone IS NULL "
    "AND session = {} AND branch = {} AND project = {} AND agent_session = {}"
)
REMOVE = REMOVE_ALL + " AND subpath = {}"
LIST_TEXTS = (
    "SELECT text_id, size FROM transcript_batches WHERE session = {} AND branch = {} "
    "AND project = {} AND agent_session = {} AND subpath = {} "
    "AND gone IS NULL AND text_id > {} ORDER BY text_id LIMIT {}"
)
READ_TEXTS = (
    "SELECT t.text AS text FROM transcript_batches AS b JOIN transcript_texts AS t "
    "ON t.id = b.text_id WHERE b.session = {} AND b.branch = {} "
    "AND b.project = {} AND b.agent_session = {} AND b.subpath = {} "
    "AND b.gone IS NULL AND b.text_id BETWEEN {} AND {} ORDER BY b.text_id"
)
LIST_AGENT_SESSIONS = (
    "SELECT agent_session, MAX(mtime) AS mtime, "
    "MAX(CASE WHEN summarised THEN text_id END) AS summarised "
    "FROM transcript_batches WHERE session = {} AND branch = {} AND project = {} "
    "AND subpath = '' AND gone IS NULL GROUP BY agent_session ORDER BY agent_session"
)
LIST_SUBPATHS = (
    "SELECT DISTINCT subpath FROM transcript_batches WHERE session = {} AND branch = {} "
    "AND project = {} AND agent_session = {} AND subpath <> '' AND gone IS NULL ORDER BY subpath"
)
CONVERSATION_SIZE = (
    "SELECT COALESCE(SUM(size), 0) AS size FROM transcript_batches "
    "WHERE session = {} AND branch = {} AND agent_session = {} AND gone IS NULL"
)
POSITION = "SELECT MAX(text_id) AS id FROM transcript_batches WHERE session = {} AND branch = {}"
COPY_BATCHES = (
    "INSERT INTO transcript_batches (session, branch, project, agent_session, subpath, text_id, "
    "size, mtime, summarised, gone) SELECT session, {}, project, agent_session, subpath, text_id, "
    "size, mtime, summarised, CASE WHEN gone <= {} THEN gone END FROM transcript_batches "
    "WHERE session = {} AND branch = {} AND text_id <= {} ORDER BY text_id"
)
