-- What was measured. synchronous=NORMAL; a file of its own; see mod.rs for how a value wanders through the tables.
CREATE TABLE IF NOT EXISTS vm (
    number INTEGER PRIMARY KEY,
    name   TEXT NOT NULL UNIQUE
) STRICT;
CREATE TABLE IF NOT EXISTS tick (        -- the head: one row for each acknowledged tick
    id   INTEGER PRIMARY KEY AUTOINCREMENT,
    at   INTEGER NOT NULL,               -- start of its step, seconds since 1970 UTC
    data BLOB NOT NULL
) STRICT;
CREATE INDEX IF NOT EXISTS tick_at ON tick (at);
CREATE TABLE IF NOT EXISTS sample_block      (key INTEGER PRIMARY KEY, data BLOB NOT NULL) STRICT;
CREATE TABLE IF NOT EXISTS five_minute_block (key INTEGER PRIMARY KEY, data BLOB NOT NULL) STRICT;
CREATE TABLE IF NOT EXISTS hour_block        (key INTEGER PRIMARY KEY, data BLOB NOT NULL) STRICT;
CREATE TABLE IF NOT EXISTS sample_chunk      (key INTEGER PRIMARY KEY, cells INTEGER NOT NULL, data BLOB NOT NULL) STRICT;
CREATE TABLE IF NOT EXISTS five_minute_chunk (key INTEGER PRIMARY KEY, cells INTEGER NOT NULL, data BLOB NOT NULL) STRICT;
CREATE TABLE IF NOT EXISTS hour_chunk        (key INTEGER PRIMARY KEY, cells INTEGER NOT NULL, data BLOB NOT NULL) STRICT;
CREATE TABLE IF NOT EXISTS quarantine (  -- rows whose checksum is wrong; their values are gaps
    id     INTEGER PRIMARY KEY,
    source TEXT NOT NULL,
    key    INTEGER NOT NULL,
    data   BLOB NOT NULL
) STRICT;
CREATE TABLE IF NOT EXISTS fact (        -- small numbers and documents: generation of the head, progress of back-fills
    name  TEXT PRIMARY KEY,
    value TEXT NOT NULL
) STRICT;
CREATE TABLE IF NOT EXISTS record (      -- what forecasts of a series were worth; worked out anew where it is lost
    vm     TEXT NOT NULL,
    metric TEXT NOT NULL,
    data   BLOB NOT NULL,
    PRIMARY KEY (vm, metric)
) STRICT, WITHOUT ROWID;
