"""The run lock, and how long the application may wait for a migration.

budget     the lock budget of one attempt       retry            the retry policy for transient faults
blockers   who holds the lock we wait for       modes            the modes of locks, and their conflicts
                                                locked_session   the session that holds the run lock
"""
