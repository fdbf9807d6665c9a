"""What an error may show, and where it comes from.

file_errors   the error of a file: line, cause, remedy      redaction   values that no error may show
frames        PostgreSQL's CONTEXT: functions and blocks
"""
