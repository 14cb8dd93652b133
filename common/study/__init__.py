"""The study as data: features, outcomes, the signed public terms."""
