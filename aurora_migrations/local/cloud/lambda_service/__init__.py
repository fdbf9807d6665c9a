"""Lambda on this machine: functions in processes of their own."""
