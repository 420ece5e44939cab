"""Sums a column by a "fast path" in native code, which reads beyond its buffer and is killed for it."""

import signal
import subprocess
import sys

NATIVE = "import ctypes; print(ctypes.cast(8, ctypes.POINTER(ctypes.c_double * 4096)).contents[17])"

done = subprocess.run([sys.executable, "-c", NATIVE], check=False)
if done.returncode == -signal.SIGSEGV:
    print("Segfault in the native sum of 4096 values")
sys.exit(128 - done.returncode if done.returncode < 0 else done.returncode)
