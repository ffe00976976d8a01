"""A session and its sandboxes: the way in, the time together, the way out."""
