"""The proof with real clients: unmodified SDKs, a browser, an agent, the real process."""
