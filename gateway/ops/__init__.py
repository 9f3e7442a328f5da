"""What operators see: health checks, metrics, logs, and messages to systemd."""
