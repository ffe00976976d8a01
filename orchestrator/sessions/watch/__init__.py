"""What is due in a session because of its time, its memory or its disks."""
