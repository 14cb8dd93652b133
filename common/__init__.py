"""What all parties must agree on, byte for byte. No site data, no server state, no Flower outside `common/flower`."""
