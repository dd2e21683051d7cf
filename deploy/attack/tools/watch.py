#!/usr/bin/env python3
"""Who watches an attack, each a process of its own so that the attacker's work does not delay it.

The bystander sends GET /health through the balancer each 10 ms and writes for each request when it was sent, the
seconds until its whole answer was there, and the status (0: none within five seconds). The sampler writes four times a
second what each role holds. Both write lines to a file, and end with the process that started them.
"""
import collections, contextlib, dataclasses, os, pathlib, selectors, socket, subprocess, sys, time

PAUSE_SECONDS = 0.01
PATIENCE_SECONDS = 5.0
REQUESTS_AN_ADDRESS = 50
REQUEST = b"GET /health HTTP/1.1\r\nHost: bystander\r\n\r\n"


class Bystander:
    """Sends a request each 10 ms, on an unused connection if there is one and on a new one otherwise.

    Where the balancer limits how often an address may ask, it comes from a new address every 50 requests.
    """

    def __init__(self, port, out, rotates):
        self.port, self.out, self.rotates = port, out, rotates
        self.selector = selectors.DefaultSelector()
        self.unused = []
        self.awaited = collections.OrderedDict()
        self.sent = 0

    def run(self):
        parent, due = os.getppid(), time.monotonic()
        while os.getppid() == parent:
            for key, _ in self.selector.select(max(0, due - time.monotonic())):
                self.ready(key.fileobj)
            now = time.monotonic()
            while self.awaited and now - next(iter(self.awaited.values()))[0] > PATIENCE_SECONDS:
                self.end(next(iter(self.awaited)), 0)
            if now >= due:
                self.request()
                due = max(due + PAUSE_SECONDS, now)

    def address(self):
        if not self.rotates:
            return "127.0.0.2"
        number = 2 + self.sent // REQUESTS_AN_ADDRESS
        return f"127.{1 + number // 60000 % 200}.{number // 240 % 250}.{2 + number % 240}"

    def request(self):
        client, address = None, self.address()
        while self.unused and client is None:
            client, old = self.unused.pop()
            if old != address:
                self.selector.unregister(client)
                client.close()
                client = None
        now = time.monotonic()
        self.sent += 1
        if client is None:
            client = socket.socket()
            client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            client.setblocking(False)
            client.bind((address, 0))
            with contextlib.suppress(BlockingIOError):
                client.connect(("127.0.0.1", self.port))
            self.selector.register(client, selectors.EVENT_WRITE)
            self.awaited[client] = [now, address, None]
        else:
            self.awaited[client] = [now, address, b""]
            self.send(client)

    def send(self, client):
        try:
            client.send(REQUEST)
        except OSError:
            self.end(client, 0)

    def ready(self, client):
        entry = self.awaited.get(client)
        if entry is None:
            # What closes between two requests is no failure.
            self.unused = [pair for pair in self.unused if pair[0] is not client]
            self.selector.unregister(client)
            client.close()
        elif entry[2] is None:
            entry[2] = b""
            self.selector.modify(client, selectors.EVENT_READ)
            self.send(client)
        else:
            self.receive(client, entry)

    def receive(self, client, entry):
        try:
            received = client.recv(65536)
        except BlockingIOError:
            return
        except OSError:
            received = b""
        entry[2] += received
        head, blank, body = entry[2].partition(b"\r\n\r\n")
        if not received:
            self.end(client, 0)
        elif blank:
            length = next((int(line[15:]) for line in head.lower().split(b"\r\n")
                           if line.startswith(b"content-length:")), 0)
            if len(body) >= length:
                self.end(client, int(head[9:12]), b"connection: close" not in head.lower())

    def end(self, client, status, keeps=False):
        began, address, _ = self.awaited.pop(client)
        self.out.write(f"{began:.6f} {time.monotonic() - began:.6f} {status}\n")
        # One spare connection is enough: more would be descriptors that the balancer holds because of the bystander.
        if keeps and not self.unused:
            self.unused.append((client, address))
        else:
            self.selector.unregister(client)
            client.close()


def sample(up, beside, out):
    """Writes for each role: time, process id, name, PSS, RSS, highest RSS in KiB, descriptors, CPU seconds."""
    from system import System, cpu_seconds
    parent, count, system = os.getppid(), 0, System(0, up)
    system.beside = {int(pid): name for pid, name in (word.split(":") for word in beside)}
    roles = {}
    while os.getppid() == parent:
        if count % 4 == 0:
            roles = system.roles()
        count += 1
        for pid, name in roles.items():
            # What ends just now has nothing more to say.
            with contextlib.suppress(OSError, KeyError):
                held = held_by(pid)
                out.write(f"{time.monotonic():.3f} {pid} {name} {held.pss} {held.rss} {held.high} {held.descriptors} "
                          f"{cpu_seconds([pid])}\n")
        time.sleep(0.25)


@dataclasses.dataclass
class Held:
    """Memory of a process in KiB and the number of its descriptors."""
    pss: int
    rss: int
    high: int
    descriptors: int


def held_by(pid):
    """What a process holds just now."""
    folder = pathlib.Path("/proc", str(pid))
    numbers = {}
    for line in ((folder / "status").read_text() + (folder / "smaps_rollup").read_text()).splitlines():
        name, _, value = line.partition(":")
        if name in ("VmRSS", "VmHWM", "Pss"):
            numbers[name] = int(value.split()[0])
    # Newer kernels tell the number of entries as the size of the folder.
    descriptors = os.stat(folder / "fd").st_size or len(os.listdir(folder / "fd"))
    return Held(numbers["Pss"], numbers["VmRSS"], numbers["VmHWM"], descriptors)


def start(kind, path, *words):
    """Starts a bystander or a sampler that writes to a file; whoever starts it ends it."""
    command = [sys.executable, str(pathlib.Path(__file__).resolve()), kind, str(path), *map(str, words)]
    return subprocess.Popen(command)


def main():
    kind, path, *words = sys.argv[1:]
    with open(path, "w", buffering=1, encoding="ascii") as out:
        if kind == "bystander":
            Bystander(int(words[0]), out, words[1] == "rotate").run()
        else:
            sample(int(words[0]), words[1:], out)


if __name__ == "__main__":
    main()
