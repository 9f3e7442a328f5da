-- Filters of runs of keys, so that a start need not read the keys: for eight runs a byte for each
-- slot of a filter. `lane` and `bit` say where in it a run is; NULL while it is in none.
CREATE TABLE key_filter (lane INTEGER PRIMARY KEY, checksum INTEGER NOT NULL, slots BLOB NOT NULL);
ALTER TABLE sealed_run ADD COLUMN lane INTEGER;
ALTER TABLE sealed_run ADD COLUMN bit INTEGER;
