"""A bit of work that mostly waits, as a call to some service would."""

import sys
import time

time.sleep(float(sys.argv[1]))
