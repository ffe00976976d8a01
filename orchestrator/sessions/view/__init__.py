"""What a session is, folded from its events: its states, its view, its endings. Pure."""
