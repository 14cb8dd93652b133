"""Study protocols for public cohorts, as data."""
