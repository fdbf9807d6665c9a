"""The stacks of the shop."""
