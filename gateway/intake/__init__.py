"""The only path to the store: mask secrets, quarantine invalid events, commit."""
