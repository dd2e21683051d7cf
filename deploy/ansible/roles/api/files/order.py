"""Orders the balancer of this machine to send a backend nothing more, or requests again, and waits until it is so.

usage: order.py NAME drain|ready

It asks the balancer that runs, wherever that listens, with the token that it was started with: both may have been
changed in the files since. If no balancer runs here, or it does not know the backend, it sends the backend nothing, and
there is nothing to do. What was done is printed, beginning with `changed` if something was; the exit code is 1 if the
order is refused, or not carried out within 60 seconds.
"""
import json
import pathlib
import re
import subprocess
import sys
import time
import urllib.error
import urllib.request

UNIT = "millrace-balance.service"
SECONDS = 60


def output(*command):
    """What a command prints."""
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout


def running_balancer():
    """The URL of the balancer of this machine, nothing if there is none."""
    pid = output("systemctl", "show", "-p", "MainPID", "--value", UNIT).strip() or "0"
    if pid == "0":
        return None
    for line in output("ss", "-Hltnp").splitlines():
        if re.search(rf"\bpid={pid}\b", line):
            host, port = line.split()[3].rsplit(":", 1)
            host = {"0.0.0.0": "127.0.0.1", "*": "127.0.0.1", "[::]": "[::1]"}.get(host, host)
            return f"http://{host}:{port}"
    sys.exit(f"the balancer, process {pid}, listens nowhere")


def token():
    """The administrators' token as the running balancer knows it."""
    given = pathlib.Path("/run/credentials") / UNIT / "admin_token"
    if not given.exists():
        given = pathlib.Path("/etc/millrace/secrets/admin_token")
    return given.read_text(encoding="ascii").strip()


def asked(url, fields=None, **options):
    """The JSON that a request is answered with."""
    request = urllib.request.Request(url, headers=fields or {}, **options)
    with urllib.request.urlopen(request, timeout=10) as answer:
        return json.load(answer)


def backend(balancer, name):
    """What the balancer says of a backend, nothing if it does not know it."""
    return next((entry for entry in asked(f"{balancer}/lb/stats")["backends"] if entry["name"] == name), None)


def is_done(entry, order):
    """Whether a backend is as ordered."""
    if order == "drain":
        return entry["state"] == "draining" and entry["in_flight"] == 0
    return entry["state"] in ("up", "warming")


def main():
    name, order = sys.argv[1:]
    balancer = running_balancer()
    if balancer is None:
        return print("no balancer runs here")
    entry = backend(balancer, name)
    if entry is None:
        return print(f"{balancer} does not know {name}")
    wanted = (entry["state"] == "draining") != (order == "drain")
    if wanted:
        try:
            asked(f"{balancer}/lb/backends/{name}", method="PATCH", data=json.dumps({"state": order}).encode(),
                  fields={"Authorization": f"Bearer {token()}", "Content-Type": "application/json"})
        except urllib.error.HTTPError as error:
            sys.exit(f"{balancer} refuses to {order} {name}: {error.code} {error.read(300).decode(errors='replace')}")
    end = time.monotonic() + SECONDS
    while not is_done(entry, order):
        if time.monotonic() > end:
            sys.exit(f"{balancer} was told to {order} {name}; after {SECONDS} s it is {entry['state']}, with "
                     f"{entry['in_flight']} requests in progress")
        time.sleep(0.2)
        entry = backend(balancer, name)
        if entry is None:
            break
    print(f"{'changed' if wanted else 'as before'}: {balancer}, {name}, {order}")


try:
    main()
except (OSError, subprocess.CalledProcessError) as failure:
    sys.exit(f"the balancer cannot be asked: {failure}")
