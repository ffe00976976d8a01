"""What people may do with the files of a session's workspace."""
