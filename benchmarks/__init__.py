"""Ours beside a peer on the same server, as ratios. Never a test: a machine's mood must not fail a build."""
