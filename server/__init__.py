"""What the coordinator runs: the study's state machine, admission, aggregation. Never imports the client."""
