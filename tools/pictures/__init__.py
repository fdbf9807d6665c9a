"""Pictures of docs/img/, as SVG for light and dark pages; `python -m tools.pictures` draws them all.

`terminal` runs the command in a pseudo-terminal and reads what it prints, colours included. `state_machine` draws the
state machine of the README.
"""
