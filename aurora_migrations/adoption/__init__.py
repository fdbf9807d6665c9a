"""What people bring from other migration tools.

layouts   how a tool names and splits its files, and what they are called here
"""
