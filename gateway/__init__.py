"""An event ingestion gateway: three dialects in, one durable record out."""

__version__ = "0.1.0"
