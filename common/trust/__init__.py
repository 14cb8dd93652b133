"""Identity, envelopes, the site's privacy ledger and the study log. No torch, no flwr, no patient data."""
