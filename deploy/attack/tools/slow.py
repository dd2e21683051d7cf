"""What attacks with slow bytes and with big results have in common."""
import secrets, sys

from .clients import crowd, for_seconds, meanwhile

BIG_STRING_BYTES = 1 << 20


async def drip_without_end(port, tally, options, start):
    """Clients that send the start of a request and then a byte each second until they are answered."""
    async def visit(client, number):
        tally.sent += 1
        async with meanwhile(drip(client)):
            await client.answer()

    async def drip(client):
        await client.send(start)
        await client.drip(b"a" * 1000, 1)

    await for_seconds(options.seconds, crowd(options.clients, port, tally, visit))
    tally.note(f"{options.clients} clients; {len(tally.clients)} still held after {options.seconds} s")
    tally.demand(not tally.clients, "slow clients were not ended")


def store_big_results(system, count):
    """Has the MD5 of strings of 1 MiB computed, whose JSON is 6 MiB; returns the numbers of the tasks."""
    numbers = []
    for _ in range(count):
        # Control characters are six bytes each in JSON; the beginning makes each string a new one.
        string = secrets.token_hex(8).encode() + b"\\u0001" * (BIG_STRING_BYTES - 16)
        status, body, _ = system.ask("POST", "/hash/md5?wait=30", b'{"string":"' + string + b'"}', timeout=60)
        if status != 200:
            sys.exit(f"storing a big result was answered with {status}: {str(body)[:200]}")
        numbers.append(body["id"])
    return numbers
