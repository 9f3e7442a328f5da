"""The search for the request that holds the event loop longest."""
