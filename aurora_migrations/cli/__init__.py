"""What a person types: `aurora-migrations VERB`, one verb a file."""
