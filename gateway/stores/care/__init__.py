"""What commands do to the SQLite files of a store and a spool. The gateway does not load it."""
