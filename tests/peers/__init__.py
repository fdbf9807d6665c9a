"""Adoption of what other migration tools themselves have made; see `__main__`."""
