-- Whose a quarantined record is and how many bytes it has, so that each tenant keeps a fair share.
-- NULL in records that an earlier version stored, until the quarantine is next counted.
ALTER TABLE quarantine ADD COLUMN stream INTEGER;
ALTER TABLE quarantine ADD COLUMN size INTEGER;
CREATE INDEX quarantine_share ON quarantine (stream, seq, size);
