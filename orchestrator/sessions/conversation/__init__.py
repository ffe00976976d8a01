"""What people and the agent may say, and what follows from it."""
