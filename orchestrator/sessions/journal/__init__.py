"""What is written of a session and who hears it: the log first, then the view, then the room."""
