"""Collect a text that is on every machine: the Zen of Python, which the module ``this`` keeps in a simple cipher."""

import codecs
import contextlib
import io
import os
from pathlib import Path

with contextlib.redirect_stdout(io.StringIO()):
    import this

folder = Path(os.environ["TITAN_SHARED_DIR"]) / os.environ["TITAN_RUN_ID"]
folder.mkdir(parents=True, exist_ok=True)
text = codecs.decode(this.s, "rot13")
(folder / "words.txt").write_text(text)
print(f"{len(text.split())} words")
