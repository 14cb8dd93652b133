"""What an auditor checks offline, with a bundle and public keys: arithmetic and signatures, no torch and no flwr."""
