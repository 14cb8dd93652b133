"""The only place that knows how Flower carries our messages."""
