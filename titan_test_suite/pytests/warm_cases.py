"""Scripts that look at everything in which a forked process could differ from a new interpreter.

None prints what differs between two new interpreters too: pids, addresses, times.
"""

from __future__ import annotations

import textwrap
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field


@dataclass(frozen=True)
class Case:
    """A script and what goes with it.

    Attributes:
        shows: texts that its output holds, so that a script that fails both ways is not taken for equal.
        exit_code: what it ends with. forked: whether it is forked at all when it may be.
        witness: the script begins with a line that notes how it was started.
        unordered: the order of its lines depends on when the garbage collector ran.
        loose: what it prints is an accident of some versions, or shows where the interpreter was, and is not compared.
        siblings: files beside the script. env, without: changes to its environment.
    """

    name: str
    source: bytes
    shows: tuple[str, ...] = ()
    exit_code: int | None = 0
    forked: bool = True
    witness: bool = True
    slow: bool = False
    unordered: bool = False
    loose: bool = False
    file: str = "script.py"
    args: tuple[str, ...] = ()
    siblings: Mapping[str, str] = field(default_factory=dict)
    env: Mapping[str, str] = field(default_factory=dict)
    without: tuple[str, ...] = ()


CASES: list[Case] = []


def case(name: str, source: str | bytes, *shows: str, exit_code: int | None = 0, **fields) -> None:
    data = source if isinstance(source, bytes) else textwrap.dedent(source).lstrip("\n").encode()
    CASES.append(Case(name, data, shows, exit_code, **fields))


def cases(prefix: str, sources: Mapping[str, str], exit_codes: Sequence[int] = (), **fields) -> None:
    codes = exit_codes or [0] * len(sources)
    for (name, source), code in zip(sources.items(), codes, strict=True):
        case(f"{prefix}-{name}", source, exit_code=code, **fields)


# --- what it is given -------------------------------------------------------------------------------------------------

case(
    "argv",
    """
    import sys
    print(sys.argv, sys.orig_argv, sys.executable, sys.prefix, sys.base_prefix)
    """,
    "two words",
    args=("plain", "two words", "", "ünï", "-x", "line\nbreak"),
)
case(
    "paths",
    """
    import os, sys
    print(sys.path, __file__, os.getcwd(), sys.pycache_prefix)
    print(sorted(os.listdir()), os.path.realpath(__file__) == os.path.realpath(sys.argv[0]))
    """,
    "script.py",
)
case(
    "globals",
    """
    print(sorted(globals()), sorted(vars(__builtins__)) == sorted(dir(__import__('builtins'))))
    print(__name__, __spec__, __package__, __doc__, type(__loader__), __loader__.name, __loader__.path)
    print(getattr(__loader__, 'get_source')('__main__')[:4], __builtins__)
    """,
    "__main__ None None None",
)
case(
    "docstring",
    '''
    """What this is for."""
    from __future__ import annotations
    x: int = 1
    print(__doc__, __annotations__, annotations)
    ''',
    "What this is for.",
    witness=False,
)
case(
    "environment",
    """
    import os, subprocess
    mine = {n: v for n, v in os.environ.items() if n not in ('TITAN_LAUNCHER', 'WITNESS')}
    print(sorted(mine.items()))
    print(os.environb[b'BYTES'], os.environ['EMPTY'] == '', 'HOME' in os.environ, os.getenv('COLOUR'))
    print(subprocess.run(['/usr/bin/env'], capture_output=True).stdout.count(b'COLOUR=blue'))
    os.environ['ADDED'] = 'later'; del os.environ['COLOUR']
    print(subprocess.run(['/bin/sh', '-c', 'echo $ADDED $COLOUR'], capture_output=True).stdout)
    """,
    "blue",
    env={"COLOUR": "blue", "EMPTY": "", "BYTES": "\udcff\udcfe"},
    without=("HOME",),
)
case(
    "stdin",
    """
    import sys
    print(repr(sys.stdin.read()), sys.stdin.isatty(), sys.stdin.encoding, sys.stdin.fileno())
    try:
        input('prompt ')
    except EOFError as error:
        print(repr(error))
    """,
    "EOFError",
)
case(
    "streams",
    """
    import sys
    for stream in (sys.stdin, sys.stdout, sys.stderr):
        print(stream.name, stream.mode, stream.encoding, stream.errors, stream.line_buffering, stream.newlines)
        print(getattr(stream, 'write_through', None), type(stream.buffer).__name__, stream is sys.__stdin__)
    print('\\u00e9\\u20ac', end='')
    sys.stderr.write('err\\n'); sys.stdout.buffer.write(b'\\xff\\n'); print('after', file=sys.stderr)
    import os
    os.write(1, b'direct\\n'); sys.stdout.write('no newline'); os.write(1, b' direct\\n')
    """,
    "no newline direct",
)
case(
    "descriptors",
    """
    import os
    listing = os.open('/proc/self/fd', os.O_RDONLY)
    print(sorted(int(n) for n in os.listdir(listing) if int(n) != listing) [:3], listing)
    print(os.readlink('/proc/self/fd/0'), os.fstat(1).st_ino == os.fstat(2).st_ino)
    print([os.get_inheritable(n) for n in (0, 1, 2)], [os.get_blocking(n) for n in (1, 2)])
    """,
    "/dev/null",
)
case(
    "process",
    """
    import os, resource, threading
    print(os.getpid() == os.getsid(0) == os.getpgrp(), os.getppid() > 1)
    print(os.umask(0o22), os.getpriority(os.PRIO_PROCESS, 0))
    print(os.sched_getaffinity(0) == os.sched_getaffinity(os.getppid()))
    print([resource.getrlimit(n) for n in (resource.RLIMIT_NOFILE, resource.RLIMIT_CORE, resource.RLIMIT_STACK)])
    print(threading.main_thread() is threading.current_thread(), threading.enumerate(), threading.active_count())
    print(threading.main_thread().ident == threading.get_ident(), threading.main_thread().native_id == os.getpid())
    print(os.listdir('/proc/self/task') == [str(os.getpid())])
    """.replace("threading.enumerate()", "[t.name for t in threading.enumerate()]"),
    "True True",
)
case(
    "signals",
    """
    import signal
    for number in sorted(signal.valid_signals()):
        handler = signal.getsignal(number)
        print(int(number), handler if not callable(handler) else handler.__name__)
    print(signal.pthread_sigmask(signal.SIG_BLOCK, ()), signal.sigpending(), signal.set_wakeup_fd(-1))
    with open('/proc/self/status') as status:
        lines = [line for line in status if line.startswith('Sig') and line[3] != 'Q']
    print([(line[:7], int(line[7:], 16) & ~(3 << 31)) for line in lines])
    print(signal.getitimer(signal.ITIMER_REAL), signal.alarm(0))
    """,
    "default_int_handler",
)
case(
    "signals-of-a-child",
    """
    import subprocess
    for restore in (True, False):  # 32 and 33 are the C library's own, which ignores them in what posix_spawn starts
        status = subprocess.run(['cat', '/proc/self/status'], capture_output=True, restore_signals=restore).stdout
        lines = [line for line in status.splitlines() if line[:3] == b'Sig' and line[:4] != b'SigQ']
        print([(line[:7], int(line[7:], 16) & ~(3 << 31)) for line in lines])
    """,
    "SigIgn",
)
case(
    "flags",
    """
    import sys
    print(sys.flags, sys.dont_write_bytecode, sys.warnoptions, sys._xoptions, sys.getrecursionlimit())
    print(sys.getswitchinterval(), sys.getdlopenflags(), sys.gettrace(), sys.getprofile(), sys.float_repr_style)
    print(sys.getfilesystemencoding(), sys.getfilesystemencodeerrors(), sys.getdefaultencoding(), sys.hexversion)
    print(sys.excepthook is sys.__excepthook__, sys.displayhook is sys.__displayhook__, hasattr(sys, 'ps1'))
    print(sys.unraisablehook is sys.__unraisablehook__, hasattr(sys, 'last_value'), sys.meta_path, sys.path_hooks)
    """.replace("sys.meta_path, sys.path_hooks", "[str(f)[:40] for f in sys.meta_path], len(sys.path_hooks)"),
    "hash_randomization=1",
)
case(
    "modules",
    """
    import sys
    print(sorted(sys.modules))
    print(sorted(n for n in sys.modules if n.partition('.')[0] in ('titan_core', 'titan_sdk', '_ctypes', '_socket')))
    print([p for p in sys.path_importer_cache if 'titan_core' in p])
    """,
)
case(
    "all-modules-import-afresh",
    """
    import _ctypes, _functools, _operator, _socket, _weakref, atexit, ctypes, functools, marshal, operator, posix
    import select, signal, socket, sys, time, weakref, enum, threading, warnings, ctypes.util
    print(ctypes.CDLL(None).getpid() == __import__('os').getpid(), signal.Signals(15), socket.AF_INET)
    print(functools.partial(int, '3')(), operator.methodcaller('upper')('a'), weakref.WeakValueDictionary())
    a, b = socket.socketpair(); a.send(b'x'); print(b.recv(1), isinstance(a, _socket.socket)); a.close(); b.close()
    print(select.select([], [], [], 0), issubclass(socket.timeout, OSError), functools.reduce(operator.add, [1, 2]))
    class P(ctypes.Structure): _fields_ = [('x', ctypes.c_int)]
    print(P(3).x, sys.getsizeof(P(1)), ctypes.sizeof(P), isinstance(P(1), _ctypes.Structure))
    print(functools.partial.__module__, weakref.ref.__module__)
    """,
    "True",
)
case(
    "gc",
    """
    import gc
    print(gc.isenabled(), gc.get_threshold(), gc.get_debug(), gc.callbacks, gc.garbage)
    class Node: pass
    import weakref
    a = Node(); a.me = a; r = weakref.ref(a); del a
    print(gc.collect() >= 1, r() is None)
    """,
    "True",
)
case(
    "recursion",
    """
    import sys
    def depth(n):
        try:
            return depth(n + 1)
        except RecursionError as error:
            return n, str(error)
    print(depth(1))
    sys.setrecursionlimit(300)
    print(depth(1))
    def deep(n): return sorted([1], key=lambda _: deep(n + 1) if n < 60 else n)
    print(deep(0))
    """,
    "maximum recursion depth",
)
case(
    "frames",
    """
    import inspect, sys, traceback
    print(len(inspect.stack()), sys._getframe().f_back, [f.name for f in traceback.extract_stack()])
    def f(): return [frame.function for frame in inspect.stack()]
    print(f(), sys._getframe(0).f_code.co_name, sys._getframe(0).f_code.co_filename == __file__)
    try:
        sys._getframe(1)
    except ValueError as error:
        print(error)
    """,
    "call stack is not deep enough",
)
case(
    "random",
    """
    import os, random, secrets, tempfile, uuid
    with open('../seen', 'a+') as seen: pass
    print(len({random.random() for _ in range(100)}), len(secrets.token_hex()), len(os.urandom(4)))
    """,
    "100 64 4",
)
case(
    "locale",
    """
    import codecs, locale, time
    print(locale.setlocale(locale.LC_ALL), locale.getlocale(), locale.getpreferredencoding(), locale.localeconv())
    print(locale.setlocale(locale.LC_ALL, ''), locale.str(1.5), time.strftime('%c %x', time.gmtime(0)))
    """,
)
cases(
    "timezone",
    {
        "same": "import time; print(time.tzname, time.timezone, time.localtime(0).tm_hour)",
        "libc": "from datetime import datetime; print(datetime.fromtimestamp(0), datetime(2024, 7, 1).astimezone())",
    },
    env={"TZ": "NZST-12NZDT,M9.5.0,M4.1.0/3"},
)
case("timezone-none", "import time; print(time.tzname, time.localtime(0)[:4])", without=("TZ",))

# --- how it ends ------------------------------------------------------------------------------------------------------

cases(
    "exit",
    {
        "none": "import sys; print('x', end=''); sys.exit()",
        "int": "import sys; sys.exit(7)",
        "negative": "import sys; sys.exit(-1)",
        "256": "import sys; sys.exit(256)",
        "text": "import sys; sys.exit('what is wrong \\u00e9')",
        "tuple": "import sys; sys.exit((1, 2))",
        "true": "import sys; sys.exit(True)",
        "float": "import sys; sys.exit(0.0)",
        "bare": "raise SystemExit",
        "quit": "quit(5)",
        "os": "import os; print('lost?', flush=True); os._exit(9)",
        "subclass": "class E(SystemExit): pass\nraise E(4)",
        "attribute": "e = SystemExit(); e.code = 6\nraise e",
        "int-subclass": "class I(int): pass\nraise SystemExit(I(8))",
        "nested": "import sys\ntry:\n    sys.exit(3)\nfinally:\n    print('finally')",
        "cause": "try:\n    1 / 0\nexcept ZeroDivisionError:\n    raise SystemExit('text')",
    },
    (0, 7, 255, 0, 1, 1, 1, 1, 0, 5, 9, 4, 6, 8, 3, 1),
)
cases(
    "exit",
    {
        "huge": "import sys; sys.exit(2 ** 70)",
        "huge-negative": "import sys; sys.exit(-(2 ** 70))",
        "bad-str": "class B:\n    def __str__(self): raise ValueError('no')\nimport sys; sys.exit(B())",
    },
    (255, 255, 1),
    loose=True,
)
cases(
    "error",
    {
        "plain": "def f():\n    return 1 / 0\n\nf()",
        "chained": "try:\n    {}['a']\nexcept KeyError as error:\n    raise ValueError('second') from error",
        "context": "try:\n    {}['a']\nexcept KeyError:\n    undefined",
        "suppressed": "try:\n    {}['a']\nexcept KeyError:\n    raise ValueError('alone') from None",
        "recursive": "def f(): f()\nf()",
        "no-message": "raise Exception",
        "multi-line": "x = (1 +\n  2 +\n  None)",
        "bad-str": "class E(Exception):\n    def __str__(self): raise TypeError\nraise E",
        "unicode": "raise ValueError('\\u00e9 \\ud800')",
        "note": "e = ValueError('noted')\nif hasattr(e, 'add_note'): e.add_note('a note')\nraise e",
        "group": "import sys\nif sys.version_info >= (3, 11):\n"
        "    raise ExceptionGroup('g', [ValueError(1), ExceptionGroup('h', [KeyError(2)])])\nraise ValueError",
        "suggestion": "import collections\ncollections.namedtupel",
        "suggestion-name": "print(pritn)",
        "import": "import no_such_module_at_all",
        "assert": "assert 1 == 2, 'they differ'",
        "exec": "exec(compile('def g():\\n  1/0\\ng()', '<made>', 'exec'))",
        "lambda": "(lambda: [x for x in (lambda: 1 / 0)()])()",
        "class-body": "class A:\n    x = undefined_name",
        "generator": "def g():\n    yield 1\n    raise RuntimeError('in it')\nlist(g())",
        "base": "class B(BaseException): pass\nraise B('base')",
        "generator-exit": "raise GeneratorExit('bare')",
        "stop-iteration": "next(iter(()))",
        "syntax-at-run": "eval('1 +')",
        "warning-as-error": "import warnings\nwarnings.simplefilter('error')\nwarnings.warn('raised')",
        "in-del": "class D:\n    def __del__(self): 1 / 0\nd = D()\ndel d\nraise ValueError('after')",
        "os": "open('/no/such/file')",
        "tracebacklimit": "import sys\nsys.tracebacklimit = 1\ndef f(): 1 / 0\ndef g(): f()\ng()",
        "no-traceback": "e = ValueError('x').with_traceback(None)\nraise e",
    },
    [1] * 28,
)
case(
    "error-in-sibling",
    """
    import helper
    def outer():
        try:
            helper.broken(3)
        except ZeroDivisionError as error:
            raise RuntimeError('outer') from error
    outer()
    """,
    "helper.py",
    "the direct cause",
    exit_code=1,
    siblings={"helper.py": "def broken(n):\n    return deeper(n)\n\n\ndef deeper(n):\n    return n / 0\n"},
)
case(
    "error-in-sibling-syntax",
    "import helper",
    "SyntaxError",
    exit_code=1,
    siblings={"helper.py": "def f(:\n    pass\n"},
)
case("syntax", "print('never')\ndef f(:\n    pass\n", "SyntaxError", exit_code=1, witness=False)
case("syntax-indent", "if 1:\nprint(1)\n", "IndentationError", exit_code=1, witness=False)
case("syntax-tab", "if 1:\n\tif 1:\n        pass\n", exit_code=1, witness=False)
case("syntax-null", b"print(1)\n\0print(2)\n", exit_code=None, witness=False)
case("syntax-encoding", b"print('\xff')\n", "SyntaxError", exit_code=1, witness=False)
case("syntax-warning", "x = 1\nprint(x is 1)\n", "SyntaxWarning", witness=False)
case("syntax-escape", "print('\\d')\n", "\\d", witness=False)
case("syntax-future", "x = 1\nfrom __future__ import annotations\n", "SyntaxError", exit_code=1, witness=False)
case("encoding-latin", "# coding: latin-1\nprint(ascii('é'))\n".encode("latin-1"), "'\\xe9'", witness=False)
case("encoding-bom", b"\xef\xbb\xbfprint(ascii('\xc3\xa9'))\n", "'\\xe9'", witness=False)
case("encoding-crlf", b"print(1)\r\nprint('''a\r\nb''' == 'a\\nb')\r\n", "True", witness=False)
case("empty", b"", witness=False)
case("comment-only", b"# nothing here", witness=False)
case("no-final-newline", b"print(1)\nif 1: print(2)", "2", witness=False)
case("form-feed-and-tabs", b"\x0cif 1:\n\tprint('tab')\n", "tab", witness=False)
case(
    "interrupted",
    "import os, signal, time\nprint('x')\nos.kill(os.getpid(), signal.SIGINT)\ntime.sleep(5)",
    "KeyboardInterrupt",
    exit_code=-2,
)
case("interrupt-raised", "def f():\n    raise KeyboardInterrupt('mine')\nf()", "KeyboardInterrupt: mine", exit_code=-2)
case(
    "interrupt-caught",
    "try:\n    raise KeyboardInterrupt\nexcept KeyboardInterrupt:\n    print('caught')",
    "caught",
)
case("interrupt-subclass", "class K(KeyboardInterrupt): pass\nraise K", exit_code=None)
cases(
    "killed",
    {
        name.lower(): f"import os, signal\nprint('dying')\nos.kill(os.getpid(), signal.{name})\nprint('alive')"
        for name in ("SIGTERM", "SIGKILL", "SIGHUP", "SIGUSR1", "SIGALRM", "SIGPIPE", "SIGXFSZ", "SIGCHLD", "SIGQUIT")
    },
    (-15, -9, -1, -10, -14, 0, 0, 0, -3),
)
case("abort", "import os\nprint('x', flush=True)\nos.abort()", exit_code=-6)
case(
    "segfault-with-faulthandler",
    """
    import faulthandler, os, signal
    print(faulthandler.is_enabled())
    faulthandler.enable()
    def f(): os.kill(os.getpid(), signal.SIGSEGV)
    f()
    """,
    "Segmentation fault",
    "in f",
    exit_code=-11,
)
case(
    "term-handled",
    """
    import os, signal, sys
    def handler(number, frame):
        print('got', number, frame.f_code.co_name)
        sys.exit(12)
    signal.signal(signal.SIGTERM, handler)
    os.kill(os.getpid(), signal.SIGTERM)
    print('not here')
    """,
    "got 15 <module>",
    exit_code=12,
)
case(
    "broken-pipe",
    """
    import os, sys
    read, write = os.pipe(); os.close(read)
    try:
        os.write(write, b'x')
    except BrokenPipeError as error:
        print(repr(error))
    os.dup2(write, 1)
    print('into the broken pipe')
    """,
    "BrokenPipeError",
    exit_code=None,
)
case(
    "stdout-closed",
    """
    import sys
    print('first'); sys.stdout.close()
    sys.stderr.write('still\\n')
    print('raises')
    """,
    "I/O operation on closed file",
    exit_code=1,
)
case("stdout-closed-quietly", "import sys\nprint('first')\nsys.stdout.close()", "first")
case("stdout-none", "import sys\nsys.stdout = None\nprint('nowhere')\nsys.stderr = None\n1 / 0", exit_code=1)
case(
    "stdout-replaced",
    """
    import io, sys
    old = sys.stdout
    sys.stdout = io.TextIOWrapper(open('../kept', 'wb'), write_through=False)
    print('into the file')
    """,
)
case(
    "stdout-object",
    """
    import sys
    class Slow:
        def __init__(self, to): self.to = to; self.text = ''
        def write(self, text): self.text += text.upper()
        def flush(self): text, self.text = self.text, ''; self.to.write(text)
    sys.stdout = Slow(sys.stdout)
    sys.stderr = Slow(sys.stderr)
    print('printed')
    sys.exit('and gone')
    """,
    "PRINTED",
    "AND GONE",
    exit_code=1,
)
case("fd1-closed", "import os\nprint('a')\nos.close(1)\nos.write(2, b'b\\n')", "b", exit_code=None)
case(
    "stdout-detached", "import sys\nraw = sys.stdout.detach()\nraw.write(b'raw\\n')\nraw.flush()", "raw", exit_code=None
)
case(
    "full-disk",
    """
    import os, sys
    full = os.open('/dev/full', os.O_WRONLY)
    os.dup2(full, 1)
    sys.stdout = open(1, 'w', closefd=False)
    print('unflushed')
    """,
    loose=True,
    exit_code=120,
)
case(
    "unflushed-file",
    """
    f = open('../left.txt', 'w'); f.write('x' * 100)
    g = open('../left2.txt', 'wb', buffering=1 << 20); g.write(b'y' * 70000)
    import io
    class Holder: pass
    h = Holder(); h.f = io.TextIOWrapper(open('../left3.txt', 'wb')); h.f.write('in an attribute'); h.me = h
    """,
)
case(
    "libc-output",
    """
    import ctypes
    libc = ctypes.CDLL(None)
    libc.printf(b'from C, unflushed\\n')
    libc.puts(b'and more')
    print('from Python')
    """,
    "from C",
    "from Python",
)

# --- its last moments -------------------------------------------------------------------------------------------------

case(
    "atexit",
    """
    import atexit
    @atexit.register
    def first(): print('registered first')
    atexit.register(print, 'registered second', end='!\\n')
    def gone(): print('never')
    atexit.register(gone); atexit.unregister(gone)
    def adds(): atexit.register(print, 'added at exit')
    atexit.register(adds)
    print('body', atexit._ncallbacks() >= 3)
    """,
    "registered first",
)
case(
    "atexit-fails",
    """
    import atexit
    def bad(): raise ValueError('at exit')
    atexit.register(print, 'still called'); atexit.register(bad)
    raise RuntimeError('in the body')
    """,
    "still called",
    "at exit",
    exit_code=1,
)
case(
    "atexit-exits",
    """
    import atexit, sys
    atexit.register(print, 'still called')
    @atexit.register
    def bad(): sys.exit(9)
    """,
    "still called",
    exit_code=None,
)
case(
    "atexit-cleared",
    """
    import atexit
    atexit.register(print, 'never'); atexit._clear()
    f = open('../cleared.txt', 'w'); f.write('flushed')
    print('cleared')
    """,
    "cleared",
)
case(
    "atexit-run-now",
    """
    import atexit
    atexit.register(print, 'now')
    atexit._run_exitfuncs()
    print('after')
    atexit.register(print, 'later')
    """,
    "later",
)
case(
    "atexit-thread",
    """
    import atexit, threading
    def late():
        t = threading.Thread(target=print, args=('thread of atexit',))
        try:
            t.start(); t.join()
        except RuntimeError as error:
            print(error)
    atexit.register(late)
    """,
)
case(
    "threads",
    """
    import threading, time
    go = threading.Event()
    def work():
        go.wait(); time.sleep(0.05); print('non-daemon is waited for')
    threading.Thread(target=work).start()
    import atexit
    atexit.register(print, 'then atexit')
    print('body'); go.set()
    """,
    "non-daemon is waited for",
)
case(
    "threads-daemon",
    """
    import threading, time
    def forever():
        while True: time.sleep(0.001)
    for _ in range(3): threading.Thread(target=forever, daemon=True).start()
    class D:
        def __del__(self): print('finalized')
    d = D()
    print('body')
    """,
    "body",
)
case(
    "threads-error",
    """
    import threading
    def work(): raise ValueError('in a thread')
    t = threading.Thread(target=work, name='worker'); t.start(); t.join()
    threading.excepthook = lambda args: print('hook', args.exc_type)
    t = threading.Thread(target=work); t.start(); t.join()
    print(threading.current_thread().name)
    """,
    "Exception in thread worker",
    "hook",
)
case(
    "threads-exit-in-one",
    """
    import sys, threading
    t = threading.Thread(target=sys.exit, args=(5,)); t.start(); t.join()
    print('goes on')
    """,
    "goes on",
)
case(
    "threads-fail-in-main",
    """
    import threading
    def work(): threading.main_thread().join(); print('thread ends last')
    threading.Thread(target=work).start()
    raise ValueError('main fails')
    """,
    "thread ends last",
    exit_code=1,
)
case(
    "executor",
    """
    from concurrent.futures import ThreadPoolExecutor, ProcessPoolExecutor
    def square(n): return n * n
    pool = ThreadPoolExecutor(2)
    print(list(pool.map(square, range(5))))
    pool.submit(print, 'from the pool, not shut down')
    if __name__ == '__main__':
        with ProcessPoolExecutor(2) as processes: print(list(processes.map(square, range(5))))
    """,
    "[0, 1, 4, 9, 16]",
    slow=True,
)
case(
    "finalizers",
    """
    import sys, weakref
    class D:
        def __init__(self, name): self.name = name
        def __del__(self): print('del', self.name, sys is None, sys.stdout is sys.__stdout__)
    a = D('a'); b = D('b'); _private = D('_private'); keep = [D('in a list')]
    cycle = D('cycle'); cycle.me = cycle
    def f(): return held
    f.d = D('of a function')
    class C: d = D('of a class')
    weakref.finalize(a, print, 'finalize of a')
    weakref.finalize(C, print, 'finalize of C').atexit = False
    def gen():
        try:
            yield 1
        finally:
            print('generator closed')
    g = gen(); next(g)
    async def co(): pass
    print('body')
    """,
    "generator closed",
    "finalize of a",
    unordered=True,
)
case(
    "finalizers-of-modules",
    """
    import helper, sys, types
    class D:
        def __del__(self): print('del of main', helper is None)
    d = D()
    made = types.ModuleType('made'); made.d = D(); sys.modules['made'] = made
    del made
    sys.modules['odd'] = 7
    print('body')
    """,
    "del of helper",
    unordered=True,
    siblings={
        "helper.py": """
import sys
class H:
    def __init__(self, name): self.name = name
    def __del__(self): print('del of helper', self.name, __name__, sys is None)
h = H('h'); _h = H('_h')
"""
    },
)
case(
    "finalizer-fails",
    """
    class D:
        def __del__(self): raise ValueError('in a finalizer')
    d = D()
    """,
    "ValueError: in a finalizer",
)
case(
    "stdlib-is-kept-to-the-end",
    """
    import json, logging, os, tempfile
    class D:
        def __del__(self):
            print(json.dumps({'a': 1}), os.path.join('a', 'b'))
            logging.warning('logged at the end')
    d = D()
    t = tempfile.TemporaryDirectory()
    logging.getLogger('x').error('logged')
    """,
    "logged at the end",
)
case(
    "unraisable",
    """
    import sys
    sys.unraisablehook = lambda args: print('hook', args.exc_type, args.err_msg)
    class D:
        def __del__(self): 1 / 0
    D()
    d = D()
    print('body')
    """,
    "hook",
)
case(
    "unraisable-and-error",
    """
    import sys
    sys.unraisablehook = lambda args: print('hook', args.exc_type)
    raise ValueError('not for the hook')
    """,
    "not for the hook",
    exit_code=1,
)
case(
    "excepthook",
    """
    import sys
    def hook(kind, value, traceback):
        print('hook', kind, value, traceback.tb_lineno, traceback.tb_next, traceback.tb_frame.f_code.co_name)
        print(hasattr(sys, 'last_value'), sys.exc_info())
    sys.excepthook = hook
    raise ValueError('x')
    """,
    "hook",
    exit_code=1,
)
case(
    "excepthook-fails",
    """
    import sys
    def hook(*args): raise RuntimeError('in the hook')
    sys.excepthook = hook
    raise ValueError('x')
    """,
    "Error in sys.excepthook",
    exit_code=1,
)
case("excepthook-missing", "import sys\ndel sys.excepthook\n1 / 0", "excepthook", exit_code=1)
case("excepthook-exits", "import sys\nsys.excepthook = lambda *a: sys.exit(44)\n1 / 0", exit_code=None)
case(
    "faulthandler-traceback",
    """
    import faulthandler, sys
    def f(): faulthandler.dump_traceback(all_threads=False)
    f()
    """,
    "in f",
)
case(
    "tracemalloc-and-audit",
    """
    import sys, tracemalloc
    tracemalloc.start(); x = [0] * 1000
    print(tracemalloc.is_tracing(), tracemalloc.get_object_traceback(x))
    tracemalloc.stop()
    seen = []
    sys.addaudithook(lambda event, args: seen.append(event) if event == 'open' else None)
    open('/dev/null').close(); print(seen)
    """,
    "open",
)
case(
    "trace-and-profile",
    """
    import sys
    lines = []
    def tracer(frame, event, arg):
        lines.append((event, frame.f_lineno)); return tracer
    def f():
        x = 1
        return x
    sys.settrace(tracer); f(); sys.settrace(None)
    print(lines)
    import cProfile, io, pstats
    p = cProfile.Profile(); p.runcall(f); print(len(p.getstats()))
    """,
)

# --- what it brings in ------------------------------------------------------------------------------------------------

case(
    "siblings",
    """
    import helper, pkg.inner, sys
    print(helper.__file__, helper.VALUE, pkg.inner.NAME, pkg.__path__, helper.MAIN)
    print(sys.modules['__main__'].__file__, helper.__spec__.origin == helper.__file__, helper.__cached__)
    """,
    "helper.py",
    siblings={
        "helper.py": "VALUE = 5\nimport sys\nMAIN = sorted(n for n in vars(sys.modules['__main__']) if n[0] != '_')\n",
        "pkg/__init__.py": "",
        "pkg/inner.py": "NAME = __name__\n",
    },
)
case(
    "shadowing",
    """
    import random, string, json
    print(random.WHO, string.WHO, json.__file__.count('json'), random.__file__)
    """,
    "mine",
    siblings={"random.py": "WHO = 'mine'\n", "string.py": "WHO = 'mine too'\n"},
)
case(
    "shadowing-early-ones",
    """
    import os, _signal, select, threading
    for name in ('atexit', 'enum', 'weakref', 'warnings', 'stat', 'time'):
        try:
            module = __import__(name)
            print(name, getattr(module, 'WHO', 'theirs'))
        except ImportError as error:
            print(name, error)
    """,
    siblings={f"{name}.py": "WHO = 'mine'\n" for name in ("atexit", "enum", "weakref", "warnings", "stat", "time")},
    exit_code=None,
)
case(
    "imports-itself",
    """
    import sys
    print(__name__)
    if __name__ == '__main__':
        import script
        print(script.__file__ == __file__, script is sys.modules['__main__'])
    """,
    "script",
)
case("guard", "if __name__ == '__main__':\n    print('main')\nelse:\n    print('not main')", "main")
case(
    "pickling",
    """
    import copyreg, dataclasses, enum, pickle, typing
    class Point:
        def __init__(self, x): self.x = x
    @dataclasses.dataclass(order=True)
    class Data:
        a: int; b: list = dataclasses.field(default_factory=list); c: typing.ClassVar[int] = 3; d: 'Point' = None
    class Colour(enum.Enum): RED = 1
    def function(): return 'called'
    for thing in (Point(3), Data(1), Colour.RED, function, Point):
        data = pickle.dumps(thing)
        print(type(pickle.loads(data)).__name__, b'__main__' in data)
    print(Data(1) < Data(2), Point.__module__, Point.__qualname__, typing.get_type_hints(Data)['d'])
    """,
    "True",
)
case(
    "inspect",
    """
    import inspect, linecache, sys
    def f(a, b=2, *c, d: int = 4, **e):
        'doc'
        return a  # comment
    print(inspect.getsource(f), inspect.signature(f), inspect.getsourcefile(f) == __file__, inspect.getdoc(f))
    class C:
        x = 1
    print(inspect.getsource(C), inspect.getmodule(f) is sys.modules['__main__'], linecache.getline(__file__, 2))
    print(f.__code__.co_filename == __file__, f.__code__.co_firstlineno, inspect.getsourcelines(f)[1])
    print((lambda: 0).__code__.co_filename == __file__, [c.co_filename == __file__ for c in f.__code__.co_consts
          if hasattr(c, 'co_filename')])
    """,
    "comment",
)
case(
    "warnings",
    """
    import warnings
    warnings.warn('from main')
    def f(): warnings.warn('level 2', DeprecationWarning, stacklevel=2)
    f()
    f()
    import helper
    helper.g()
    warnings.warn('far', stacklevel=9)
    print(len(warnings.filters), [(f[0], f[2].__name__, f[4]) for f in warnings.filters])
    print(sorted(k for k in globals() if 'warning' in k), type(__warningregistry__))
    open('/dev/null')
    async def never(): pass
    never()
    """,
    "UserWarning: from main",
    siblings={"helper.py": "import warnings\ndef g():\n    warnings.warn('of helper', Warning)\n"},
)
case(
    "asyncio",
    """
    import asyncio, contextvars, sys
    var = contextvars.ContextVar('var', default=0)
    async def work(n):
        await asyncio.sleep(0.01 * n); var.set(n)
        return n, var.get()
    async def main():
        process = await asyncio.create_subprocess_exec('/bin/echo', 'child', stdout=asyncio.subprocess.PIPE)
        print(await process.communicate(), await asyncio.gather(*map(work, range(3))), var.get())
        loop = asyncio.get_running_loop()
        import signal, os
        got = asyncio.Event(); loop.add_signal_handler(signal.SIGUSR1, got.set)
        os.kill(os.getpid(), signal.SIGUSR1); await asyncio.wait_for(got.wait(), 5); print('signalled')
        print(await loop.run_in_executor(None, sum, [1, 2]))
    asyncio.run(main())
    async def fails(): raise ValueError('in a task')
    async def leaves(): asyncio.create_task(fails()); await asyncio.sleep(0.01)
    asyncio.run(leaves())
    """.replace("asyncio.create_task(fails())", "t = asyncio.create_task(fails())"),
    "signalled",
)
case(
    "asyncio-interrupted",
    """
    import asyncio, os, signal
    async def main():
        try:
            os.kill(os.getpid(), signal.SIGINT)
            await asyncio.sleep(5)
        finally:
            print('cleaned up')
    asyncio.run(main())
    """,
    "cleaned up",
    exit_code=-2,
)
case(
    "subprocess",
    """
    import os, subprocess, sys
    print(subprocess.run([sys.executable, '-c', 'import sys; print(sys.argv, sys.flags.unbuffered)', 'a'],
                         capture_output=True, text=True).stdout)
    subprocess.run(['/bin/echo', 'straight through'])
    print(subprocess.run(['false']).returncode, os.system('exit 3') >> 8, os.popen('echo popen').read())
    p = subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(60)']); p.terminate(); print(p.wait())
    with open('../out', 'w') as out: subprocess.run(['ls', '/proc/self/fd'], stdout=out, close_fds=False)
    print(open('../out').read())
    try:
        subprocess.check_call(['/no/such/program'])
    except FileNotFoundError as error:
        print(error)
    """,
    "straight through",
)
case(
    "fork",
    """
    import os, sys
    sys.stdout.write('before ')
    pid = os.fork()
    if pid == 0:
        print('in the child', __name__)
        sys.exit(3)
    print('status', os.waitpid(pid, 0)[1] >> 8, flush=True)
    import atexit
    atexit.register(print, 'twice')
    if os.fork() == 0:
        raise SystemExit
    os.wait()
    os.register_at_fork(after_in_child=lambda: print('hook'))
    if os.fork() == 0: os._exit(0)
    os.wait()
    """,
    "status 3",
    "hook",
)
MULTI = """
    import multiprocessing, os, sys
    class Thing:
        def __init__(self, n): self.n = n
    def work(thing):
        return thing.n * 2, __name__ in ('__main__', '__mp_main__'), multiprocessing.parent_process() is None
    def child(queue, go): queue.put(sys.argv); go.wait(); print('child says', __name__, flush=True); sys.exit(4)
    if __name__ == '__main__':
        context = multiprocessing.get_context('METHOD')
        with context.Pool(2) as pool: print(pool.map(work, [Thing(n) for n in range(4)]))
        queue = context.Queue()
        go = context.Event(); process = context.Process(target=child, args=(queue, go), name='kid')
        process.start(); print(queue.get()); go.set(); process.join(); print(process.exitcode, process.name)
        print(multiprocessing.current_process().name, multiprocessing.parent_process())
        manager = context.Manager(); d = manager.dict(); d['a'] = 1; print(dict(d)); manager.shutdown()
        from multiprocessing import shared_memory
        memory = shared_memory.SharedMemory(create=True, size=16); memory.buf[0] = 7; print(memory.buf[0])
        memory.close(); memory.unlink()
        process = context.Process(target=sys.exit, args=('exits with text',)); process.start(); process.join()
        print(process.exitcode)
    """
for method in ("fork", "spawn", "forkserver"):
    case(f"multiprocessing-{method}", MULTI.replace("METHOD", method), "child says", "kid", slow=True)
case(
    "multiprocessing-default",
    """
    import multiprocessing
    print(multiprocessing.get_start_method(), multiprocessing.get_all_start_methods())
    print(multiprocessing.active_children())
    """,
)
case(
    "shadowed-in-multiprocessing",
    """
    import multiprocessing, helper
    if __name__ == '__main__':
        with multiprocessing.get_context('spawn').Pool(1) as pool: print(pool.map(helper.double, [1, 2]))
    """,
    "[2, 4]",
    slow=True,
    siblings={"helper.py": "def double(n): return 2 * n\n"},
)
case(
    "runpy-and-code",
    """
    import code, runpy
    print(sorted(k for k in runpy.run_path('../other.py', run_name='other') if k[0] != '_'))
    code.InteractiveConsole({}).runsource('print(1 + 1)')
    exec('import sys; print(sys.argv[1:])')
    """,
    "2",
    args=("a",),
    siblings={"other.py": "X = 1\nprint(__name__)\n"},
)
case(
    "doctest-and-unittest",
    """
    import doctest, unittest
    def add(a, b):
        '''
        >>> add(1, 2)
        3
        >>> add(1, 1)
        3
        '''
        return a + b
    print(doctest.testmod())
    class T(unittest.TestCase):
        def test_it(self): self.assertEqual(1, 1)
    result = unittest.TextTestRunner(stream=open('/dev/null', 'w'), verbosity=0).run(
        unittest.defaultTestLoader.loadTestsFromName('T', __import__('__main__')))
    print(result)
    """,
    "run=1",
)
case(
    "argparse-error",
    """
    import argparse
    p = argparse.ArgumentParser(); p.add_argument('--n', type=int); p.parse_args()
    """,
    "usage: script.py",
    exit_code=2,
    args=("--n", "x"),
)
case("argparse-help", "import argparse; argparse.ArgumentParser(description='d').parse_args()", "usage", args=("-h",))
case(
    "logging",
    """
    import logging, logging.handlers, queue
    logging.basicConfig(format='%(levelname)s %(name)s %(module)s %(lineno)d %(processName)s %(threadName)s')
    logging.warning('w'); logging.getLogger('a.b').error('e', stack_info=True)
    try:
        1 / 0
    except ZeroDivisionError: logging.exception('x')
    """,
    "MainProcess MainThread",
)
case("names-with-spaces", "import sys; print(__file__, sys.argv); 1 / 0", "a b", exit_code=1, file="a b é.py")
case("dotted-name", "print(__name__, __file__)", "x.y.py", file="x.y.py")
case(
    "weird-main",
    """
    import sys
    del __name__, __file__
    print(globals().get('__name__'), sys.modules['__main__'].__dict__ is globals())
    sys.modules['__main__'] = None
    raise ValueError('nobody home')
    """,
    "nobody home",
    exit_code=1,
)
case("globals-cleared", "print('x')\nglobals().clear()\n", "x")
case("modules-cleared", "import sys\nprint('x')\nsys.modules.clear()\n", "x", exit_code=None)
case(
    "sqlite-and-ssl",
    """
    import decimal, hashlib, sqlite3, zlib, datetime, json, csv, socket, ctypes, array, struct
    db = sqlite3.connect(':memory:'); print(db.execute('select 1 + 1').fetchone())
    print(hashlib.sha256(b'x').hexdigest()[:8], decimal.getcontext().prec, decimal.Decimal(1) / 3)
    print(zlib.crc32(b'abc'), json.dumps([1]), struct.pack('<I', 1), datetime.date(2020, 1, 1))
    """,
    "(2,)",
)
case(
    "import-time-state",
    """
    import time, sys, threading, contextvars, weakref, _thread, itertools
    print(time.get_clock_info('monotonic').implementation, time.perf_counter() > 0)
    print(threading.stack_size(), sys.get_asyncgen_hooks(), sys.get_coroutine_origin_tracking_depth())
    print(sys.getallocatedblocks() > 0, sys.is_finalizing(), sys.intern('x') is 'x'.strip())
    print(threading.Thread().name, threading._shutdown is not None, contextvars.copy_context().items())
    """.replace("contextvars.copy_context().items()", "list(contextvars.copy_context().items())"),
    "Thread-1",
)

# --- what only a new interpreter can do -------------------------------------------------------------------------------

case(
    "python-variable",
    """
    import sys
    print(sys.flags.optimize, sys.path[1], sys.warnoptions)
    assert False
    """,
    "/extra",
    forked=False,
    env={"PYTHONOPTIMIZE": "1", "PYTHONPATH": "/extra", "PYTHONWARNINGS": "ignore"},
)
case("hash-seed", "print(hash('x'), {'a', 'b', 'c', 'd'})", forked=False, env={"PYTHONHASHSEED": "1"})
case(
    "utf8-off",
    "import sys; print(sys.flags.utf8_mode, sys.stdout.encoding, sys.stdout.errors)",
    forked=False,
    env={"PYTHONUTF8": "0", "LC_ALL": "C", "PYTHONCOERCECLOCALE": "0"},
)
case(
    "loader-variable",
    "import os; print(os.environ['LD_LIBRARY_PATH'])",
    "/lib/x",
    forked=False,
    env={"LD_LIBRARY_PATH": "/lib/x"},
)
case(
    "locale-variable",
    "import locale; print(locale.setlocale(locale.LC_ALL, ''), locale.getpreferredencoding())",
    forked=False,
    env={"LC_ALL": "C.UTF-8"},
)
case("io-encoding", "print('\\u00e9')", forked=False, env={"PYTHONIOENCODING": "ascii:backslashreplace"})
