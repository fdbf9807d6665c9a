"""What a run would meet in this database, before it runs.

privileges   what our role lacks for pending files      rehearsal   pending files in a transaction that is rolled back
"""
