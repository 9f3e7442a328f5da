"""The one way in: redact, quarantine what is invalid, commit."""
