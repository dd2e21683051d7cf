"""A Redis that lies: it greets like one, and answers what is asked of it with broken or boundless replies."""
import asyncio, contextlib, itertools

MIB = 1 << 20


def lies(foreign):
    """Replies by name. Each stands where that of one command is expected."""
    return {
        "a length of 1 TB": b"$999999999999\r\n" + b"a" * MIB,
        "a negative length": b"$-5\r\n",
        "a length past 64 bits": b"$99999999999999999999999\r\nx\r\n",
        "a value without its end": b"$10\r\nshort",
        "a value longer than said": b"$2\r\n" + b"a" * 1000 + b"\r\n",
        "a billion elements": b"*1000000000\r\n",
        "negative elements": b"*-7\r\n",
        "deep arrays": b"*1\r\n" * 100_000,
        "a long integer": b":" + b"9" * 1000 + b"\r\n",
        "a line without end": b"+" + b"a" * (8 * MIB),
        "bytes of no protocol": bytes(range(256)) * 64,
        "an error": b"-OOM command not allowed\r\n",
        "an integer for a value": b":1\r\n",
        "a hundred replies for one": b"$-1\r\n" * 100,
        "a foreign value": b"$%d\r\n%s\r\n" % (len(foreign), foreign),
        "an unknown type": b"%1\r\n+a\r\n+b\r\n",
        "100 MiB": b"$104857600\r\n" + b"a" * (100 * MIB) + b"\r\n",
        "silence": b"",
    }


class Liar:
    """Listens on a port; each connection gets the next lie, and those that only listen get none."""

    def __init__(self, foreign):
        self.lies = itertools.cycle(lies(foreign).items())
        self.told = {}
        self.last = "none"
        self.server = None

    async def start(self, port):
        """Begins to listen."""
        self.server = await asyncio.start_server(self.serve, "127.0.0.1", port, limit=16 * MIB)

    async def serve(self, reader, writer):
        """Serves one connection until it ends."""
        name, lie = None, b""
        with contextlib.suppress(OSError, ValueError, EOFError, asyncio.CancelledError):
            while words := await self.command(reader):
                verb = words[0].upper()
                if verb == b"PING":
                    writer.write(b"+PONG\r\n")
                elif verb in (b"CLIENT", b"AUTH", b"SELECT", b"HELLO"):
                    writer.write(b"+OK\r\n")
                elif verb == b"SUBSCRIBE":
                    for number, channel in enumerate(words[1:], 1):
                        writer.write(b"*3\r\n$9\r\nsubscribe\r\n$%d\r\n%s\r\n:%d\r\n" % (len(channel), channel, number))
                else:
                    if name is None:
                        name, lie = next(self.lies)
                    self.told[name] = self.told.get(name, 0) + 1
                    self.last = name
                    writer.write(lie)
                await writer.drain()
        writer.close()

    async def command(self, reader):
        """The words of the next command."""
        count = int((await reader.readuntil(b"\r\n"))[1:])
        words = []
        for _ in range(count):
            length = int((await reader.readuntil(b"\r\n"))[1:])
            words.append((await reader.readexactly(length + 2))[:-2])
        return words
