"""What commands do to the SQLite files of a store and a spool, loaded when a command needs it."""
