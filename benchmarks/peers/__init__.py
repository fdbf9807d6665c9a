"""What one would write by hand: the peers that are scripts of our own."""
