"""What runs sandboxes: Docker engine, container spec, slots, pool and link."""
