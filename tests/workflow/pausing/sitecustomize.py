"""Stops a job right before it puts a finished file in place, so that tests can kill it with the file half done.

Python imports this at its start where this folder is on PYTHONPATH. No code of the project is changed: the interpreter
itself announces each rename. PAUSE_BEFORE: a regular expression for the target; the process writes its id to PAUSE_MARK
and waits until that file is gone. PAUSE_SKIP: let the first n renames that match pass.
"""

import os
import re
import sys
import time

pattern, mark = os.environ.get("PAUSE_BEFORE"), os.environ.get("PAUSE_MARK", "")


def pause(event, args):
    if event != "os.rename" or not re.search(pattern, os.fspath(args[1])):
        return
    with open(mark + ".seen", "a") as file:
        file.write("x")
    if os.path.getsize(mark + ".seen") <= int(os.environ.get("PAUSE_SKIP", "0")):
        return
    with open(mark + ".new", "w") as file:
        file.write(str(os.getpid()))
    os.link(mark + ".new", mark)  # appears at once with its content
    while os.path.exists(mark):
        time.sleep(0.05)


if pattern:
    sys.addaudithook(pause)
