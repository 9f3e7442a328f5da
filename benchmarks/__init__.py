"""What the gateway costs beside the HTTP server and the disk that it stands on.

``python -m benchmarks`` measures both floors and the gateway in one run, on this
machine, with nothing but loopback between them, and prints the ratios.
"""
