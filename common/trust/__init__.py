"""Identity, signed envelopes, the site ledger, the study log. No torch, no flwr."""
