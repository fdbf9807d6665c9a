"""The local cloud: what the product needs, on one's own machine, without Docker or an account."""
