"""Tests with real clients: unmodified SDKs, a browser and an agent against the real process."""
