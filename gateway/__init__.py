"""An event ingestion gateway: four dialects in, one durable record out."""

__version__ = "0.1.0"
