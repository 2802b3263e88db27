"""The child of `bedside tune`, in which engines fail as real ones do: run with `VARIANT=FAULT` as its argument.

The worker, the bundle and the engine are the real ones; only what opens a session is replaced in its process.
"""

import os
import signal
import sys
import threading
from typing import Any

from bedside.devices.tuning import worker

real = worker.open_session


def open_session(bundle: Any, *, variant: str, **options: Any) -> Any:
    """As the real one, up to the fault."""
    fault = dict(word.split("=") for word in sys.argv[1:]).get(variant)
    if fault == "crash":
        os.kill(os.getpid(), signal.SIGSEGV)
    elif fault in ("hang", "short hang"):
        if fault == "short hang":  # ended by the system, before its parent's limit
            signal.setitimer(signal.ITIMER_REAL, 0.1)
        threading.Event().wait()
    elif fault == "exit":
        os.write(2, b"some engine: assertion failed\n")
        os._exit(3)
    elif fault == "bug":
        raise ZeroDivisionError("in an engine")
    elif fault == "silence":
        os._exit(0)
    elif fault == "chatter":
        os.write(1, b"banner of a vendor\n")
    return real(bundle, variant=variant, **options)


worker.open_session = open_session
if __name__ == "__main__":
    sys.exit(worker.main())
