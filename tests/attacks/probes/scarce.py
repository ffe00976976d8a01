"""Takes what the kernel has a fixed number of for all containers together, and says how many.

What was taken is given back when this ends.
"""

import ctypes
import json
import os
import platform

IO_SETUP = 206 if platform.machine() == "x86_64" else 0
MOST = 10_000
libc = ctypes.CDLL(None, use_errno=True)


def terminals():
    count = 0
    try:
        while count < MOST:
            os.open("/dev/ptmx", os.O_RDWR | os.O_NOCTTY)
            count += 1
    except OSError:
        pass
    return count


def contexts():
    """Of asynchronous input and output, with room for five hundred requests each."""
    count = 0
    while count < MOST:
        context = ctypes.c_ulong(0)
        if libc.syscall(ctypes.c_long(IO_SETUP), ctypes.c_long(500), ctypes.byref(context)) != 0:
            break
        count += 1
    return count


print(json.dumps({"terminals": terminals(), "contexts": contexts()}))
