"""HTTP: the only package that knows aiohttp, besides where it is started."""
