"""What a hospital runs: policy, cohort, training, release. Never imports the server."""
