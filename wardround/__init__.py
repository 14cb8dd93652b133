"""Wardround: one model across hospitals, while every patient's data stays at home."""
