"""What operators see: the listener with probes and metrics, the log, the service manager."""
