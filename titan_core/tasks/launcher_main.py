# The program that a worker starts as its launcher: `python -u launcher_main.py CONTROL_FD [MODULE ...]`.
# No docstring, no __future__ import, and no frame or name that outlives this code: see warm_python.py.
_pristine = dict(globals())

import os, sys  # noqa: E401, E402, I001 - nothing may come before the line above

_modules = set(sys.modules)
if not getattr(sys.flags, "safe_path", False):
    del sys.path[0]  # this file's folder, in which a script's imports must not find anything
sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__)))))

from titan_core.tasks import warm_python, zygote  # noqa: E402

del sys.path[0]
_job = zygote.run(int(sys.argv[1]), sys.argv[2:], _modules)
warm_python.become(_job, sys._getframe().f_code, globals(), _pristine)
