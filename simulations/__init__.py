"""What a researcher runs on one machine, on top of the same client and server objects."""
