"""Errors of files: what they may show, and where they occurred.

file_errors   the error of a file: line, cause, remedy      redaction   values that no error may show
frames        PostgreSQL's CONTEXT: functions and blocks
"""
