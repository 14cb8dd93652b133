"""The model card: what a released model is, for whom, how private and how good."""
