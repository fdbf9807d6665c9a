"""Takes over a database that another tool, or a person, has migrated: records files as applied without running them.

    tools      what identifies each tool's history, and how it is read     histories  finds and reads one in a database
    matching   which of our files its rows are, and their checksums        proof      compares catalogue and files
    guard      refuses runs once the other tool has changed its history    adopt      plans an adoption, and records it

Nothing here writes to another tool's table.
"""
