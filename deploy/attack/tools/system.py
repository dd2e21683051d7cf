"""The system that is attacked: one of the user's own on loopback, or a fresh one that is started for it."""
import contextlib, http.client, ipaddress, json, os, pathlib, re, signal, socket, subprocess, sys, tempfile, time
from urllib.parse import urlsplit

sys.path.append(str(pathlib.Path(__file__).resolve().parents[2] / "bench"))
from common import MILLRACE, Stack, cpu_seconds, descendants, find, free_port, need  # noqa: E402

KINDS = ("balance", "api", "worker")


def arguments(pid):
    """The command line of a process, empty if there is none."""
    with contextlib.suppress(OSError):
        return pathlib.Path("/proc", str(pid), "cmdline").read_text(errors="replace").split("\0")[:-1]
    return []


def is_alive(pid):
    """Whether a process runs; one that ended and was not waited for does not."""
    with contextlib.suppress(OSError):
        return pathlib.Path("/proc", str(pid), "stat").read_text().rsplit(")", 1)[1].split()[0] not in "ZX"
    return False


def cpu_exactly(pid):
    """Seconds of CPU that the threads of a process have used, to the nanosecond, where `cpu_seconds` has hundredths."""
    total = 0
    for path in pathlib.Path("/proc", str(pid), "task").glob("*/schedstat"):
        with contextlib.suppress(OSError):
            total += int(path.read_text().split()[0])
    return total / 1e9


def await_true(question, seconds, pause=0.02):
    """Asks until the answer is true, for some seconds at the most; returns the last answer."""
    deadline = time.monotonic() + seconds
    while not (answer := question()) and time.monotonic() < deadline:
        time.sleep(pause)
    return answer


class System:
    """The processes of one `millrace up` and how they are reached. It is used in a `with` statement.

    `stack` is set if it was started here; then it is stopped and its folder deleted at the end.
    """

    def __init__(self, port, up, stack=None):
        self.port, self.up, self.stack = port, up, stack
        self.beside, self.processes = {}, []
        self.run = self._run_folder()

    @classmethod
    def start(cls, *flags, **environment):
        """Starts a system with a folder and ports of its own, and with the rate limit off unless a flag says else."""
        need("psql")
        # A system that is attacked as root still has to let PostgreSQL's own user into its folder.
        stack = Stack(*flags, **environment)
        return cls(stack.port, stack.process.pid, stack)

    @classmethod
    def at(cls, url):
        """The running system behind a URL. Stops the program if the URL is not one of this machine's own loopback."""
        parts = urlsplit(url)
        try:
            loopback = ipaddress.ip_address("127.0.0.1" if parts.hostname == "localhost" else parts.hostname)
            if parts.scheme != "http" or not loopback.is_loopback or loopback.version != 4:
                raise ValueError
        except ValueError:
            sys.exit(f"{url} is not a system of your own: only http://127.x.x.x:PORT is attacked")
        balancer = listener(parts.port or 80)
        if balancer is None or arguments(balancer)[1:2] != ["balance"]:
            sys.exit(f"no `millrace balance` of yours listens on port {parts.port or 80}")
        with open(f"/proc/{balancer}/stat", encoding="ascii") as file:
            return cls(parts.port or 80, int(file.read().rsplit(")", 1)[1].split()[1]))

    def __enter__(self):
        return self

    def start_beside(self, name, command, **settings):
        """Starts a role that is watched too, under a name, and ends with the system. What it prints is dropped."""
        process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, **settings)
        self.beside[process.pid] = name
        self.processes.append(process)

    def __exit__(self, *_):
        for process in self.processes:
            process.kill()
            process.wait()
        # An attack that was broken off may have left something frozen.
        for pid in descendants(self.up):
            with contextlib.suppress(OSError):
                os.kill(pid, signal.SIGCONT)
        if self.stack:
            self.stack.__exit__()

    def roles(self):
        """Process ids of the roles, with their names: `balancer`, `api-1`, `worker-1`, …"""
        found = {pid: name for pid, name in self.beside.items() if is_alive(pid)}
        for pid in descendants(self.up):
            words = arguments(pid)
            if words[1:2] and words[0].endswith("millrace") and words[1] in KINDS:
                found[pid] = next((after for word, after in zip(words, words[1:])
                                   if word in ("--gateway-id", "--worker-name")), "balancer")
        return found

    def role(self, name):
        """The process id of one role."""
        return next((pid for pid, other in self.roles().items() if other == name), None)

    def pids(self, kind):
        """Process ids of the roles of a kind: `balancer`, `api` or `worker`."""
        return [pid for pid, name in self.roles().items() if name.split("-")[0] == kind]

    def postgres(self):
        """All processes of PostgreSQL, the first one the postmaster."""
        server = [pid for pid in descendants(self.up) if "postgres" in (arguments(pid) or [""])[0]
                  and "-D" in arguments(pid)]
        return [] if not server else server + sorted(descendants(server[0]) - {server[0]})

    def redis(self):
        """The process id of Redis."""
        return next((pid for pid in descendants(self.up) if "redis-server" in (arguments(pid) or [""])[0]), None)

    def direct_port(self, name):
        """The TCP port that a role has besides its Unix socket."""
        pid = self.role(name)
        return int(next(word for word in arguments(pid) if re.fullmatch(r"127\.0\.0\.1:\d+", word)).split(":")[1])

    def sql(self, query):
        """The rows of a query, as lists of text."""
        out = subprocess.run([find("psql"), "-h", self.run, "-U", "millrace", "-qAtc", query, "millrace"],
                             capture_output=True, text=True, check=True, timeout=30,
                             env={**os.environ, "PGCONNECT_TIMEOUT": "10"})
        return [line.split("|") for line in out.stdout.splitlines()]

    def redis_command(self, *words):
        """What Redis replies to one command, at most 64 KiB of it and as it comes."""
        parts = [word if isinstance(word, bytes) else str(word).encode() for word in words]
        command = b"*%d\r\n" % len(parts) + b"".join(b"$%d\r\n%s\r\n" % (len(part), part) for part in parts)
        with socket.socket(socket.AF_UNIX) as client:
            client.settimeout(5)
            client.connect(self.run + "/redis.sock")
            client.sendall(command)
            return client.recv(65536)

    def ask(self, method, path, body=None, port=None, timeout=10, source=("127.0.0.1", 0), **fields):
        """One request on a connection of its own: status, JSON or text of the answer, and seconds.

        The status is 0 if there was no whole answer in time.
        """
        began = time.monotonic()
        try:
            connection = http.client.HTTPConnection("127.0.0.1", port or self.port, timeout, source_address=source)
            with contextlib.closing(connection):
                payload = body if isinstance(body, (bytes, type(None))) else json.dumps(body).encode()
                names = {"Content-Type": "application/json"} if body is not None else {}
                connection.request(method, path, payload, {**names, **fields})
                answer = connection.getresponse()
                text = answer.read()
        except (OSError, http.client.HTTPException):
            return 0, None, time.monotonic() - began
        with contextlib.suppress(ValueError):
            text = json.loads(text)
        return answer.status, text, time.monotonic() - began

    def is_limited(self):
        """Whether the balancer limits how many requests an address may send."""
        return self.ask("GET", "/lb/stats")[1]["rate_limit_config"]["requests_per_window"] > 0

    def _run_folder(self):
        for pid in self.pids("api"):
            for word in arguments(pid):
                if word.startswith("unix:"):
                    return str(pathlib.Path(word[5:]).parent)
        sys.exit("the balancer there was not started by `millrace up`")


def listener(port):
    """The process of this user that listens on a TCP port of the loopback address or of all, or None."""
    lines = pathlib.Path("/proc/net/tcp").read_text().splitlines()[1:]
    sockets = {f"socket:[{fields[9]}]" for fields in map(str.split, lines)
               if fields[3] == "0A" and int(fields[1].split(":")[1], 16) == port}
    for entry in os.listdir("/proc"):
        if entry.isdigit():
            with contextlib.suppress(OSError):
                folder = f"/proc/{entry}/fd"
                if any(os.readlink(f"{folder}/{fd}") in sockets for fd in os.listdir(folder)):
                    return int(entry)
    return None


def temporary_folder():
    """A new folder that PostgreSQL's own user may enter too."""
    folder = tempfile.mkdtemp(prefix="millrace-attack-")
    os.chmod(folder, 0o755)
    return folder
