"""Back-ends whose times are known."""

import numpy as np

from tfgen.search.latency import Backend, BlockError


class KnownBackend(Backend):
    """Times by key; what was asked of it is kept.

    Args:
        times: function `(key, number of the timer, number of the run)` to milliseconds.
    """

    def __init__(self, times, **metadata):
        self.times, self.asked, self.timers = times, [], []
        self._metadata = {"backend": "known", "threads": 1, "versions": {"clock": "1"}, **metadata}

    def metadata(self):
        return self._metadata

    def timer(self, warm_up):
        self.asked.append(("warm_up", warm_up))
        self.timers.append(_Timer(self, len(self.timers)))
        return self.timers[-1]


class _Timer:
    def __init__(self, backend, number):
        self.backend, self.number = backend, number
        self.loads, self.runs, self.present = [], [], {}

    def __enter__(self):
        return self

    def __exit__(self, *exception):
        self.ended = True

    def load(self, block):
        key, item = block.key, block.made()
        if item == "unloadable":
            raise BlockError(f"block {key!r} cannot be converted: no such operation")
        if item is None:
            return False
        self.loads.append(key)
        self.present[key] = 0
        return True

    def run(self, key, num_runs):
        self.runs.append(key)
        first = self.present[key]
        self.present[key] += num_runs
        if key.startswith("crash") and first:
            raise BlockError(f"block {key!r} cannot be timed: its process was ended by SIGSEGV")
        return np.array([self.backend.times(key, self.number, first + k) for k in range(num_runs)])

    def clear(self):
        self.present = {}
