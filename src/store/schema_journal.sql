-- The journal and what it needs to be understood. synchronous=FULL; a file of its own.
CREATE TABLE IF NOT EXISTS journal (
    id        INTEGER PRIMARY KEY,
    operation TEXT NOT NULL,
    seq       INTEGER NOT NULL,
    at        INTEGER NOT NULL,          -- milliseconds since 1970 UTC
    entry     TEXT NOT NULL,             -- versioned JSON
    UNIQUE (operation, seq)
) STRICT;
CREATE TABLE IF NOT EXISTS document (    -- sources, services, proposals, manifests, the engine's id
    kind TEXT NOT NULL,
    name TEXT NOT NULL,
    json TEXT NOT NULL,
    PRIMARY KEY (kind, name)
) STRICT, WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS event (
    id   INTEGER PRIMARY KEY,
    at   INTEGER NOT NULL,
    json TEXT NOT NULL
) STRICT;
