"""The frame of an attack: it says what is done, measures before, during and after, and prints one row."""
import argparse, asyncio, contextlib, dataclasses, json, os, pathlib, shutil, signal, sys, time

from . import watch
from .clients import Tally, many_descriptors
from .system import System, temporary_folder

BEFORE_SECONDS = 3
AFTER_SECONDS = 10
ROLE_KIB_MAX = 256 << 10
ARGON2_KIB = 512 << 10
GUARD_KIB = 2 << 20
P99_SECONDS_MAX = 0.050
DESCRIPTORS_MORE = 4
HEADER = ["attack", "answers", "cut", "refused", "balancer MiB", "its descriptors", "API MiB", "its descriptors",
          "worker MiB", "CPU s: balancer, APIs", "bystander before", "during", "after", "what else", "broken"]


def count(most):
    """A number of something, from one to a bound, for argparse."""
    def parse(text):
        value = int(text)
        if not 1 <= value <= most:
            raise argparse.ArgumentTypeError(f"must be between 1 and {most}")
        return value
    return parse


def parser_of(text, own_only=False):
    """The options that all attacks have; the text is the script's description and examples."""
    parser = argparse.ArgumentParser(description=text, formatter_class=argparse.RawDescriptionHelpFormatter)
    if not own_only:
        parser.add_argument("--url", help="a running system of yours on loopback; without it a fresh one is started")
    parser.add_argument("--json", action="store_true", help="print the row as JSON instead of a table")
    return parser


@dataclasses.dataclass
class Samples:
    """What the sampler wrote of one process."""
    name: str
    rows: list

    def at(self, moment):
        """The last sample before a moment: time, PSS, RSS, highest RSS, descriptors, CPU seconds."""
        earlier = [row for row in self.rows if row[0] <= moment]
        return earlier[-1] if earlier else None

    def peak_kib(self, begin, end):
        """The highest PSS sampled, or the highest RSS that the kernel noted less what is shared, if that is more."""
        before, last = self.at(begin), self.at(end)
        return max(last[1], last[3] - (before[2] - before[1]), *(row[1] for row in self.rows if begin <= row[0] <= end))

    def most_descriptors(self, begin, end):
        """The most descriptors that were seen."""
        return max(self.at(end)[4], *(row[4] for row in self.rows if begin <= row[0] <= end))


class Trial:
    """Runs one attack against a system and makes the row of it.

    `attack(system, options, tally)` is a coroutine. It is ended after `seconds`, or when a role takes more than 2 GiB:
    the machine is the user's.
    """

    def __init__(self, name, system, seconds, p99_max=P99_SECONDS_MAX, may_restart=False):
        self.name, self.system, self.seconds = name, system, seconds
        self.p99_max, self.may_restart = p99_max, may_restart
        self.tally = Tally()
        self.folder = None
        self.moments = []

    def run(self, attack, options):
        """Runs the attack between its watchers; returns the row."""
        folder = temporary_folder()
        self.folder = pathlib.Path(folder)
        try:
            with self.watchers():
                # What attacks comes from elsewhere in truth: it must not take all processors from what it attacks.
                os.nice(5)
                many_descriptors()
                time.sleep(BEFORE_SECONDS)
                self.forget_peaks()
                self.moments.append(time.monotonic())
                asyncio.run(self.guarded(attack, options))
                self.moments.append(time.monotonic())
                time.sleep(AFTER_SECONDS)
                self.moments.append(time.monotonic())
                time.sleep(0.3)
            return self.row()
        finally:
            shutil.rmtree(folder)

    @contextlib.contextmanager
    def watchers(self):
        """Bystander and sampler, for as long as the block takes."""
        rotates = "rotate" if self.system.is_limited() else "stay"
        beside = [f"{pid}:{name}" for pid, name in self.system.beside.items()]
        started = [watch.start("bystander", self.folder / "bystander", self.system.port, rotates),
                   watch.start("sampler", self.folder / "samples", self.system.up, *beside)]
        try:
            yield
        finally:
            for watcher in started:
                watcher.terminate()
                watcher.wait()

    def forget_peaks(self):
        """Lets the kernel note the highest resident memory anew."""
        for pid in self.system.roles():
            pathlib.Path(f"/proc/{pid}/clear_refs").write_text("5")

    async def guarded(self, attack, options):
        """Runs the attack until it ends, its time is over or a role takes too much."""
        work = asyncio.create_task(attack(self.system, options, self.tally))
        deadline = time.monotonic() + self.seconds
        while not work.done() and time.monotonic() < deadline:
            await asyncio.wait([work], timeout=0.25)
            for pid, name in self.system.roles().items():
                with contextlib.suppress(OSError):
                    if watch.held_by(pid).rss > GUARD_KIB:
                        self.tally.note(f"ended at 2 GiB in {name}")
                        deadline = 0
        if work.done():
            work.result()
        else:
            work.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await work
        self.tally.close()

    def row(self):
        """The cells of the table, and the bounds that were broken."""
        begin, end, last = self.moments
        processes, tally = self.samples(), self.tally
        broken = list(tally.broken)
        answers = " ".join(f"{status}: {number:,}" for status, number in sorted(tally.answers.items()))
        cells = [self.name, answers or "-", str(tally.cut), str(tally.refused)]
        cpu = []
        for kind in ("balancer", "api", "worker"):
            kin = [one for one in processes if one.name.split("-")[0] == kind]
            there = [one for one in kin if one.at(begin) and one.at(last) and one.at(last)[0] > last - 1]
            if (len(there) != len(kin) or not kin) and not self.may_restart:
                broken.append(f"a role was restarted ({kind})")
            cpu.append(sum(one.at(end)[5] - one.at(begin)[5] for one in there))
            worst = max(there, key=lambda one: one.peak_kib(begin, end), default=None)
            cells += self.held(worst, broken)[:1 if kind == "worker" else 2]
            for other in there:
                if other is not worst:
                    self.held(other, broken)
        cells.append(f"{cpu[0]:.1f}, {cpu[1]:.1f}")
        requests = self.requests()
        for phase, (since, until) in enumerate([(begin - BEFORE_SECONDS + 0.5, begin), (begin, end), (end, last)]):
            text, p99 = percentiles([(seconds, status) for at, seconds, status in requests if since <= at < until])
            cells.append(text)
            if phase == 1 and p99 > self.p99_max:
                broken.append("bystander's p99 " + ("endless" if p99 == float("inf") else f"{p99 * 1000:.0f} ms"))
        return {"cells": [*cells, "; ".join(tally.notes) or "-", "; ".join(broken) or "none"], "broken": broken}

    def held(self, process, broken):
        """Memory and descriptors before / at most / after, and what of it breaks a bound."""
        if process is None:
            return ["restarted", "restarted"]
        begin, end, last = self.moments
        before, after, peak = process.at(begin), process.at(last), process.peak_kib(begin, last)
        most = ROLE_KIB_MAX + (ARGON2_KIB if process.name.startswith("worker") else 0)
        if peak > most:
            broken.append(f"{process.name} took {peak >> 10} MiB")
        if after[1] > before[1] * 1.2 + 4096:
            broken.append(f"{process.name} keeps {(after[1] - before[1]) / 1024:.0f} MiB")
        if after[4] > before[4] + DESCRIPTORS_MORE:
            broken.append(f"{process.name} keeps {after[4] - before[4]} descriptors")
        return [f"{before[1] / 1024:.1f} / {peak / 1024:.0f} / {after[1] / 1024:.1f}",
                f"{before[4]} / {process.most_descriptors(begin, last)} / {after[4]}"]

    def samples(self):
        """What the sampler wrote, by process."""
        found = {}
        for line in (self.folder / "samples").read_text().splitlines():
            at, pid, name, *numbers = line.split()
            held = found.setdefault(pid, Samples(name, []))
            held.rows.append((float(at), *map(int, numbers[:4]), float(numbers[4])))
        return list(found.values())

    def requests(self):
        """What the bystander wrote: when it asked, how many seconds it took, and the status."""
        return [tuple(map(float, line.split())) for line in (self.folder / "bystander").read_text().splitlines()
                if line.count(" ") == 2]


def percentiles(requests):
    """p50, p99, the longest and how many failed, as text; and the p99 in seconds, where a failure took for ever."""
    if not requests:
        return "no request", float("inf")
    answered = sorted(seconds for seconds, status in requests if status == 200)
    failed = len(requests) - len(answered)
    everything = answered + [float("inf")] * failed
    p50, p99 = everything[len(everything) // 2], everything[min(len(everything) - 1, len(everything) * 99 // 100)]
    longest = answered[-1] if answered else float("inf")
    text = " / ".join("never" if value == float("inf") else f"{value * 1000:.1f}" for value in (p50, p99, longest))
    return f"{text} ms, {failed} failed", p99


def show(rows):
    """Prints rows as a table in Markdown."""
    print("| " + " | ".join(HEADER) + " |")
    print("|" + "---|" * len(HEADER))
    for row in rows:
        print("| " + " | ".join(row["cells"]) + " |")
    sys.stdout.flush()


def main(attack, parser, seconds=60, name=None, prepare=None, flags=(), p99_max=P99_SECONDS_MAX, may_restart=False):
    """The whole command: reads options, attacks, prints the row, and ends with 1 if a bound was broken.

    `seconds` bound the attack's time, `name(options)` is what the table calls it, `prepare(system, options)` comes
    before anything is measured, and `flags` are those of the system that is started for it.
    """
    options = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    url = getattr(options, "url", None)
    system = System.at(url) if url else System.start(*flags)
    with system:
        if url and system.is_limited():
            sys.exit("the system limits how often an address may ask: start it with --rate-limit 0 for this attack")
        if prepare:
            prepare(system, options)
        title = name(options) if name else pathlib.Path(sys.argv[0]).name
        trial = Trial(title, system, seconds, p99_max, may_restart)
        row = trial.run(attack, options)
    if options.json:
        print(json.dumps(row))
    else:
        show([row])
    sys.exit(1 if row["broken"] else 0)
