"""What the measurements share: the stack under test, CPU of process trees, load from wrk, and tables.

Everything stays on the loopback address, and every run is bounded in time. Figures to quote are ratios taken in one run:
the machine may be shared.
"""
import contextlib, os, pathlib, random, re, shutil, signal, socket, subprocess, sys, tempfile, time

ROOT = pathlib.Path(__file__).resolve().parents[2]
HERE = pathlib.Path(__file__).resolve().parent
MILLRACE = os.environ.get("MILLRACE_EXECUTABLE", str(ROOT / ".build/release/millrace"))
TICKS = os.sysconf("SC_CLK_TCK")


def need(*programs):
    """Stops with the command that mends it if a program is missing."""
    packages = {"wrk": "wrk", "nginx": "nginx", "haproxy": "haproxy", "gcc": "gcc", "pgbench": "postgresql",
                "psql": "postgresql-client", "redis-cli": "redis-tools", "ab": "apache2-utils",
                "objcopy": "binutils", "etcd": "etcd-server"}
    missing = [program for program in programs if not find(program)]
    if missing:
        sys.exit("missing: " + " ".join(missing) + "\n  apt-get install "
                 + " ".join(sorted({packages.get(p, p) for p in missing})))
    if not pathlib.Path(MILLRACE).exists():
        sys.exit(f"{MILLRACE} does not exist: build it with ./deploy/run --build-only, or set MILLRACE_EXECUTABLE")


def find(program):
    """The path of a program, also where Debian keeps those of PostgreSQL and of the system."""
    return shutil.which(program, path=os.environ["PATH"] + ":/usr/sbin:/usr/lib/postgresql/15/bin")


def free_port():
    """The first of sixteen free ports, below those that the kernel takes for outgoing connections."""
    while True:
        base = 16 * random.randrange(1000, 2000)
        with contextlib.ExitStack() as stack, contextlib.suppress(OSError):
            for port in range(base, base + 16):
                stack.enter_context(socket.socket()).bind(("127.0.0.1", port))
            return base


def descendants(pid):
    """The process and everything that it started, directly or not."""
    parents = {}
    for entry in os.listdir("/proc"):
        if entry.isdigit():
            with contextlib.suppress(OSError):
                fields = pathlib.Path("/proc", entry, "stat").read_text().rsplit(")", 1)[1].split()
                parents[int(entry)] = int(fields[1])
    family = {pid}
    while True:
        more = {child for child, parent in parents.items() if parent in family} - family
        if not more:
            return family
        family |= more


def cpu_seconds(pids):
    """User and system seconds that processes have used so far, children they have waited for included."""
    total = 0
    for pid in pids:
        with contextlib.suppress(OSError):
            fields = pathlib.Path("/proc", str(pid), "stat").read_text().rsplit(")", 1)[1].split()
            total += sum(int(field) for field in fields[11:15])
    return total / TICKS


def memory_kib(pid):
    """Memory that only this process has, in KiB."""
    text = pathlib.Path("/proc", str(pid), "smaps_rollup").read_text()
    return sum(int(number) for number in re.findall(r"Private_\w+:\s+(\d+)", text))


def wrk(url, connections=64, seconds=5, script=None, threads=1, core=None):
    """Runs wrk; returns requests, requests a second, the p99 as text, and a line about errors, empty if none."""
    return read_wrk(run_wrk(url, connections, seconds, script, threads, core))


def run_wrk(url, connections=64, seconds=5, script=None, threads=1, core=None, arguments=()):
    """What wrk prints; `arguments` go to the script."""
    command = ["wrk", f"-t{threads}", f"-c{connections}", f"-d{seconds}s", "--latency"]
    if script:
        command += ["-s", str(HERE / script)]
    if core is not None:
        command = ["taskset", "-c", str(core)] + command
    return subprocess.run(command + [url, *(["--", *arguments] if arguments else [])], capture_output=True, text=True, timeout=seconds + 60).stdout


def read_wrk(out):
    """Requests, requests a second, the p99 as text, and a line about errors, empty if none."""
    errors = " ".join(re.findall(r"(Non-2xx.*|Socket errors.*)", out))
    return (int(re.search(r"(\d+) requests in", out)[1]), float(re.search(r"Requests/sec:\s+([\d.]+)", out)[1]),
            re.search(r"^\s+99%\s+(\S+)", out, re.MULTILINE)[1], errors)


def balancer(port, origins, reactors=1, executable=MILLRACE, flag="--backend"):
    """The balancer with everything on: limiter (far away), health checks, metrics, forwarding fields.

    An origin is a port, or the path of a Unix socket; with `--kv-server` as `flag` each has some of the keys.
    """
    command = [executable, "balance", "--port", str(port), "--reactors", str(reactors), "--rate-limit", "100000000",
               "--log-level", "warn"]
    for name, origin in zip("abcdefgh", origins):
        address = f"unix:{origin}" if str(origin).startswith("/") else f"127.0.0.1:{origin}"
        command += [flag, f"{name}={address}"]
    return command


class Stack:
    """`millrace up` on a port and folder of its own, with the rate limit off."""

    def __init__(self, *flags, **environment):
        self.folder = tempfile.mkdtemp(prefix="millrace-bench-")
        os.chmod(self.folder, 0o755)
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        environment = {"RATE_LIMIT_REQUESTS": "0", **environment}
        self.log = open(pathlib.Path(self.folder, "up.log"), "w+")
        began = time.monotonic()
        self.process = subprocess.Popen(
            [MILLRACE, "up", "--port", str(self.port), "--data", self.folder + "/data", *flags],
            stdout=self.log, stderr=subprocess.STDOUT, env={**os.environ, **environment})
        while "\nReady " not in self.said():
            said = self.said()
            if self.process.poll() is not None or time.monotonic() - began > 60:
                self.__exit__()
                sys.exit("the stack did not start:\n" + said)
            time.sleep(0.02)
        self.start_seconds = time.monotonic() - began

    def said(self):
        """What the stack has printed so far."""
        return pathlib.Path(self.folder, "up.log").read_text()

    def pids(self, role=None):
        """The stack's processes; with a role, only `millrace <role>`."""
        family = descendants(self.process.pid)
        if role is None:
            return family
        wanted = set()
        for pid in family:
            with contextlib.suppress(OSError):
                arguments = pathlib.Path("/proc", str(pid), "cmdline").read_bytes().split(b"\0")
                if arguments[0].endswith(b"millrace") and arguments[1:2] == [role.encode()]:
                    wanted.add(pid)
        return wanted

    def connection(self, database="millrace"):
        """The arguments with which psql and pgbench reach the stack's PostgreSQL, as its table says."""
        return re.search(r"psql (-h \S+ -U \S+) ", self.said())[1].split() + ["-p", "5432", "-d", database]

    def sql(self, query, database="millrace"):
        """Rows of a query, as lists of text."""
        out = subprocess.run([find("psql"), *self.connection(database), "-qAtc", query], capture_output=True, text=True,
                             check=True)
        return [line.split("|") for line in out.stdout.splitlines()]

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.process.send_signal(signal.SIGINT)
        try:
            self.process.wait(30)
        except subprocess.TimeoutExpired:
            self.process.kill()
        shutil.rmtree(self.folder, ignore_errors=True)


def pgbench_rows(stack, script, connections, rows, database="millrace"):
    """Rows a second that pgbench commits in a stack's PostgreSQL with `script`, which inserts `rows` at a time."""
    path = pathlib.Path(stack.folder, "pgbench.sql")
    path.write_text(script)
    out = subprocess.run(
        [find("pgbench"), *stack.connection(database)[:-2], "-n", "-M", "prepared", f"-c{connections}", "-j1", "-T5",
         "-f", path, database], capture_output=True, text=True, check=True).stdout
    return float(re.search(r"tps = ([\d.]+)", out)[1]) * rows


def table(header, rows):
    """Prints rows under a header, numbers to the right."""
    rows = [header] + [[cell if isinstance(cell, str) else f"{cell:,.3f}" if isinstance(cell, float) and cell < 10
                        else f"{cell:,.0f}" for cell in row] for row in rows]
    widths = [max(len(row[column]) for row in rows) for column in range(len(header))]
    for row in rows:
        print("  ".join(cell.ljust(width) if column == 0 else cell.rjust(width)
                        for column, (cell, width) in enumerate(zip(row, widths))))
    sys.stdout.flush()
