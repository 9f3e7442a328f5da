-- What a search may pass over: for each block of 4,096 sequences when its events were received, in
-- microseconds UTC, and short hashes of their streams, types and subjects, four bytes each, one
-- behind the other. Made from the events after they were stored; an event needs none to be found.
CREATE TABLE block (
    number INTEGER PRIMARY KEY,
    first_received INTEGER NOT NULL,
    last_received INTEGER NOT NULL,
    tokens BLOB NOT NULL
);
