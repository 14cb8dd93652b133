"""Models, per-patient losses, the public feature path, metrics."""
