"""What the gateway costs beside the HTTP server and the disk that it stands on.

``python -m benchmarks`` measures aiohttp alone, SQLite alone and the gateway in one
run on this machine, over loopback, and prints one table.
"""
