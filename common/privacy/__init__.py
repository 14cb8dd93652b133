"""DP events, accounting, calibration, cryptographic noise. No patient data."""
