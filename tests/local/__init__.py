"""The parts of the local cloud, each by itself."""
