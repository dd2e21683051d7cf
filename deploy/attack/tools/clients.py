"""Clients of an attack: thousands of connections in one thread, and a tally of what became of their requests."""
import asyncio, collections, contextlib, resource, select, socket, struct

RECEIVE_BYTES = 1 << 18


class Cut(Exception):
    """The connection ended before a whole answer was there."""


class Refused(Exception):
    """There was no connection within ten seconds."""


class Tally:
    """What came of an attack: answers by status, what was cut, and notes for the table."""

    def __init__(self):
        self.sent = 0
        self.answers = collections.Counter()
        self.cut = 0
        self.refused = 0
        self.bytes_read = 0
        self.notes = []
        self.broken = []
        self.clients = set()

    def note(self, text):
        """Adds what the table says of this attack alone."""
        self.notes.append(text)

    def demand(self, is_kept, bound):
        """Notes a bound of this attack alone as broken unless it is kept."""
        if not is_kept:
            self.broken.append(bound)

    def close(self):
        """Lets all clients leave."""
        for client in list(self.clients):
            client.close()


class Client:
    """One connection over which an attacker sends and reads what it wants, when it wants."""

    def __init__(self, port, tally, source="127.0.0.1"):
        self.port, self.tally, self.source = port, tally, source
        self.socket = None
        self.buffer = bytearray()

    async def open(self, receive_bytes=None):
        """Connects, with a receive buffer of some size if one is given."""
        self.socket = socket.socket()
        self.socket.setblocking(False)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if receive_bytes:
            self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_bytes)
        self.tally.clients.add(self)
        try:
            self.socket.bind((self.source, 0))
            async with asyncio.timeout(10):
                await asyncio.get_running_loop().sock_connect(self.socket, ("127.0.0.1", self.port))
        except (OSError, TimeoutError) as error:
            self.close()
            raise Refused from error
        return self

    def close(self, resets=False):
        """Leaves, with a reset if asked to."""
        self.tally.clients.discard(self)
        if resets:
            self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.socket.close()

    async def send(self, data):
        """Sends all of some bytes."""
        try:
            await asyncio.get_running_loop().sock_sendall(self.socket, data)
        except OSError as error:
            raise Cut from error

    async def drip(self, data, pause_seconds):
        """Sends one byte after the other with pauses between."""
        for byte in data:
            await self.send(bytes([byte]))
            await asyncio.sleep(pause_seconds)

    async def answer(self, keeps=False):
        """Reads one whole answer and counts it: its status, and its body if that is to be kept."""
        try:
            status, body = await self._answer(keeps)
        except OSError as error:
            raise Cut from error
        self.tally.answers[status] += 1
        return status, body

    async def request(self, data, keeps=False):
        """Sends a request and reads its answer."""
        self.tally.sent += 1
        await self.send(data)
        return await self.answer(keeps)

    async def _answer(self, keeps):
        head = await self._until(b"\r\n\r\n")
        status = int(head[9:12])
        fields = head.lower()
        body = bytearray()
        if 100 <= status < 200:
            return await self._answer(keeps)
        if b"transfer-encoding: chunked" in fields:
            while (size := int((await self._until(b"\r\n")).split(b";")[0], 16)) > 0:
                await self._take(size + 2, body if keeps else None)
                del body[-2:]
            await self._until(b"\r\n")
        elif b"content-length:" in fields:
            length = int(fields.split(b"content-length:")[1].split(b"\r\n")[0])
            await self._take(length, body if keeps else None)
        return status, bytes(body)

    async def _until(self, end):
        while (index := self.buffer.find(end)) < 0:
            await self._receive()
        found = bytes(self.buffer[:index])
        del self.buffer[:index + len(end)]
        return found

    async def _take(self, count, into):
        while count > 0:
            if not self.buffer:
                await self._receive()
            taken = min(count, len(self.buffer))
            if into is not None:
                into += self.buffer[:taken]
            del self.buffer[:taken]
            count -= taken

    async def _receive(self):
        received = await asyncio.get_running_loop().sock_recv(self.socket, RECEIVE_BYTES)
        if not received:
            raise Cut
        self.tally.bytes_read += len(received)
        self.buffer += received


def head(method, path, length=None, **fields):
    """The head of a request, with the length of its JSON if it has any."""
    lines = [f"{method} {path} HTTP/1.1", "Host: attacker", *(f"{name}: {value}" for name, value in fields.items())]
    if length is not None:
        lines += ["Content-Type: application/json", f"Content-Length: {length}"]
    return ("\r\n".join(lines) + "\r\n\r\n").encode()


def post(path, body, **fields):
    """A whole request with JSON."""
    return head("POST", path, len(body), **fields) + body


async def crowd(count, port, tally, visit, receive_bytes=None):
    """Lets `count` clients connect, some hundred at a time, and runs `visit(client, number)` for each at once.

    Returns when all have left. One that is cut or refused is counted and leaves. Whoever is still there when the crowd
    is cancelled stays among the tally's clients, and is held by the system.
    """
    door = asyncio.Semaphore(500)

    async def visitor(number):
        client = Client(port, tally)
        try:
            async with door:
                await client.open(receive_bytes)
            await visit(client, number)
            client.close()
        except Cut:
            tally.cut += 1
            client.close()
        except Refused:
            tally.refused += 1

    async with asyncio.TaskGroup() as group:
        for number in range(count):
            group.create_task(visitor(number))


@contextlib.asynccontextmanager
async def meanwhile(work):
    """Does something beside what stands in the block, and ends it with the block."""
    task = asyncio.create_task(work)
    try:
        yield
    finally:
        task.cancel()
        with contextlib.suppress(Cut, asyncio.CancelledError):
            await task


async def for_seconds(seconds, work):
    """Runs something for some seconds at the most."""
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(seconds):
            await work


def hung_up(clients):
    """How many of the clients see, without reading, that the other end has closed or reset their connection."""
    poll = select.poll()
    for client in clients:
        poll.register(client.socket, select.POLLRDHUP)
    return len(poll.poll(0))


def many_descriptors():
    """Lets this process hold as many connections as the system allows."""
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    return hard
