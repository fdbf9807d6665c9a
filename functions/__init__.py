"""What runs in Lambda: the engine that all functions share (`migrator`)."""
