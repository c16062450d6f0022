"""A memory of what was computed last, of a limited weight, for several threads."""

import threading
from collections import OrderedDict


class Recent:
    """The values that were used last, `most` of them by weight; weigh(value) is the weight of one."""

    def __init__(self, most, weigh=lambda value: 1):
        self.most, self.weigh, self.weight = most, weigh, 0
        self._values, self._lock = OrderedDict(), threading.Lock()

    def get(self, key, compute):
        """The value of `key`: remembered, or `compute()`, which two threads may do at once."""
        with self._lock:
            if key in self._values:
                self._values.move_to_end(key)
                return self._values[key]
        value = compute()
        with self._lock:
            if key not in self._values:
                self._values[key] = value
                self.weight += self.weigh(value)
            while self.weight > self.most:
                self.weight -= self.weigh(self._values.popitem(last=False)[1])
        return value
