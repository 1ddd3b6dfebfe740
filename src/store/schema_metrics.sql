-- Samples as they came (short) and their means per 5 minutes (long). synchronous=NORMAL; a file of its own.
CREATE TABLE IF NOT EXISTS series (
    id     INTEGER PRIMARY KEY,
    vm     TEXT NOT NULL,
    metric INTEGER NOT NULL,
    UNIQUE (vm, metric)
) STRICT;
CREATE TABLE IF NOT EXISTS sample (
    series INTEGER NOT NULL,
    at     INTEGER NOT NULL,             -- milliseconds since 1970 UTC
    value  REAL NOT NULL,
    PRIMARY KEY (series, at)
) STRICT, WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS rollup (
    series INTEGER NOT NULL,
    step   INTEGER NOT NULL,             -- seconds since 1970 UTC / 300
    total  REAL NOT NULL,
    count  INTEGER NOT NULL,
    least  REAL NOT NULL,
    most   REAL NOT NULL,
    PRIMARY KEY (series, step)
) STRICT, WITHOUT ROWID;
