"""Asks a system the same questions each second, and says which answers came and how soon."""
import asyncio, collections, secrets, time

CACHED = {"string": "millrace attack"}


class Probe:
    """Requests of several names; each is sent again one second after it was sent, or once it was answered if later."""

    def __init__(self, system, tally):
        self.system, self.tally = system, tally
        self.seen = {}

    def warm(self):
        """Lets the answer to the cached question be known to all APIs. It is asked before anything is measured."""
        for _ in range(12):
            self.system.ask("POST", "/hash/md5?wait=5", CACHED)

    async def ask(self, name):
        """One question by its name; returns status and seconds."""
        unique = {"string": secrets.token_hex(16)}
        method, path, body = {"health": ("GET", "/health", None), "readyz": ("GET", "/readyz", None),
                              "unique": ("POST", "/hash/md5", unique), "cached": ("POST", "/hash/md5", CACHED)}[name]
        self.tally.sent += 1
        status, _, seconds = await asyncio.to_thread(self.system.ask, method, path, body, timeout=35)
        if status:
            self.tally.answers[status] += 1
        else:
            self.tally.cut += 1
        return status, seconds

    async def watch(self, names, seconds):
        """Asks for some seconds; what was asked by then is awaited."""
        self.seen = {name: [] for name in names}
        deadline = time.monotonic() + seconds

        async def repeat(name):
            while (began := time.monotonic()) < deadline:
                self.seen[name].append((began, *await self.ask(name)))
                await asyncio.sleep(max(0, began + 1 - time.monotonic()))

        await asyncio.gather(*map(repeat, names))

    def said(self):
        """For each question the statuses, and the longest time that one took."""
        parts = []
        for name, seen in self.seen.items():
            statuses = collections.Counter(status or "nothing" for _, status, _ in seen)
            text = ", ".join(f"{number}× {status}" for status, number in statuses.items())
            parts.append(f"{name} {text}, longest {self.longest(name):.1f} s")
        return "; ".join(parts)

    def longest(self, name):
        """The longest time in seconds that a question took."""
        return max((seconds for _, _, seconds in self.seen[name]), default=0.0)

    async def recovery(self, name, status, seconds):
        """Seconds until a question has an answer of a status, or None if that takes too long."""
        began = time.monotonic()
        while time.monotonic() - began < seconds:
            if (await self.ask(name))[0] == status:
                return time.monotonic() - began
            await asyncio.sleep(0.05)
        return None


def after(seconds):
    """A time in words."""
    return "never" if seconds is None else f"after {seconds:.1f} s"
