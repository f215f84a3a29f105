#!/usr/bin/env python3
"""promptd beside its peers, in one run, one at a time, in interleaved rounds. See README.md.

    compare.py --peers DIR --model FILE --promptd PATH [--rounds 3] [--only a,b,c,d,e] [--json FILE]
"""
import argparse
import atexit
import ctypes
import datetime
import json
import os
import pathlib
import platform
import shutil
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.request

HERE = pathlib.Path(__file__).resolve().parent
TICK = os.sysconf("SC_CLK_TCK")
MIB = 1024 * 1024
STREAMS = 8
NODE = "bench"
DECODE_TOKENS = 128
DISTURBED = 0.05  # share of the machine that other processes may take during a measurement
PARTS = {
    "a": "one stream: decode speed",
    "b": "eight streams: total speed",
    "c": "memory",
    "d": "what MQTT adds",
    "e": "the daemon at rest",
}


def say(text):
    print(f"[{time.strftime('%H:%M:%S')}] {text}", file=sys.stderr, flush=True)


# --- processes -------------------------------------------------------------------------------------------------------

STARTED = []


def child_setup():
    """In the child: die with this script, whatever ends it."""
    ctypes.CDLL(None).prctl(1, signal.SIGTERM)  # PR_SET_PDEATHSIG


def start(command, log, **more):
    with open(log, "ab") as out:
        process = subprocess.Popen(
            [str(part) for part in command],
            stdin=subprocess.DEVNULL,
            stdout=out,
            stderr=out,
            start_new_session=True,
            preexec_fn=child_setup,
            **more,
        )
    STARTED.append(process)
    return process


def adopt_orphans():
    """Grandchildren that outlive their parent become children of this script: their CPU time counts, and none is left over."""
    ctypes.CDLL(None).prctl(36, 1)  # PR_SET_CHILD_SUBREAPER


def reap_orphans(seconds=5):
    """Waits for adopted processes to end, and ends them when they do not."""
    limit = time.monotonic() + seconds
    while True:
        known = {process.pid for process in STARTED}
        orphans = [pid for pid in family(os.getpid())[1:] if pid not in known and parent(pid) == os.getpid()]
        if not orphans:
            return
        for pid in orphans:
            if time.monotonic() > limit:
                os.kill(pid, signal.SIGKILL)
            os.waitpid(pid, 0 if time.monotonic() > limit else os.WNOHANG)
        time.sleep(0.02)


def stop(process):
    """Ends a process that this script started, and what is left of its own process group."""
    if process.poll() is None:
        process.terminate()
        try:
            process.wait(15)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait(5)
    try:
        os.killpg(process.pid, signal.SIGKILL)
    except ProcessLookupError:
        pass
    if process in STARTED:
        STARTED.remove(process)
    reap_orphans()


def stop_all():
    for process in reversed(STARTED[:]):
        stop(process)


def run(command, seconds, **more):
    """Runs to the end within a time limit; returns standard output."""
    process = subprocess.Popen(
        [str(part) for part in command],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
        preexec_fn=child_setup,
        **more,
    )
    STARTED.append(process)
    try:
        out, err = process.communicate(timeout=seconds)
    except subprocess.TimeoutExpired:
        raise RuntimeError(f"{command[0]}: no end within {seconds} s") from None
    finally:
        stop(process)
    if process.returncode:
        raise RuntimeError(f"{pathlib.Path(command[0]).name} {command[1]}: exit {process.returncode}: {(out + err)[-400:].strip()}")
    return out


def free_port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


def wait_for(check, process, seconds, what, log):
    limit = time.monotonic() + seconds
    while not check():
        if process.poll() is not None:
            raise RuntimeError(f"{what} ended with {process.returncode}: {tail(log)}")
        if time.monotonic() > limit:
            raise RuntimeError(f"{what} is not ready after {seconds} s: {tail(log)}")
        time.sleep(0.02)


def tail(log, size=600):
    try:
        return pathlib.Path(log).read_bytes()[-size:].decode(errors="replace").strip()
    except OSError:
        return ""


def listens(port):
    with socket.socket() as s:
        s.settimeout(1)
        return s.connect_ex(("127.0.0.1", port)) == 0


def answers(url):
    try:
        with urllib.request.urlopen(url, timeout=2) as reply:
            return reply.status == 200
    except OSError:
        return False


# --- what /proc tells ------------------------------------------------------------------------------------------------


def stat_fields(pid):
    with open(f"/proc/{pid}/stat") as f:
        return f.read().rsplit(") ", 1)[1].split()


def parent(pid):
    try:
        return int(stat_fields(pid)[1])
    except OSError:
        return 0


def cpu_seconds(pid):
    fields = stat_fields(pid)
    return (int(fields[11]) + int(fields[12])) / TICK


def family(pid):
    """The process and its descendants, itself first."""
    parents = {}
    for entry in os.listdir("/proc"):
        if entry.isdigit():
            try:
                parents.setdefault(int(stat_fields(entry)[1]), []).append(int(entry))
            except OSError:
                pass
    found, todo = [], [pid]
    while todo:
        at = todo.pop(0)
        found.append(at)
        todo += sorted(parents.get(at, []))
    return found


def memory(pid):
    with open(f"/proc/{pid}/smaps_rollup") as f:
        kib = {line.split(":")[0]: int(line.split()[1]) for line in f if line.rstrip().endswith("kB")}
    anonymous = kib.get("Anonymous", 0)
    return {key: round(value / 1024, 1) for key, value in [("rss", kib["Rss"]), ("pss", kib["Pss"]), ("anonymous", anonymous)]}


def processes_memory(roots):
    """`roots`: name to pid. Descendants are listed as name/worker, name/worker2, ..."""
    out = {}
    for name, root in roots.items():
        for index, pid in enumerate(family(root)):
            label = name if index == 0 else f"{name}/worker{index if index > 1 else ''}"
            try:
                out[label] = memory(pid)
            except (OSError, KeyError):
                pass
    return out


class Watch:
    """Share of the machine that other processes took while something was measured."""

    def __init__(self):
        self.samples = []

    @staticmethod
    def machine():
        with open("/proc/stat") as f:
            ticks = [int(x) for x in f.readline().split()[1:9]]
        idle, steal = ticks[3] + ticks[4], ticks[7]
        return sum(ticks) / TICK, (sum(ticks) - idle - steal) / TICK, steal / TICK

    @staticmethod
    def own():
        t = os.times()
        total = t.user + t.system + t.children_user + t.children_system
        for process in STARTED:
            for pid in family(process.pid):
                try:
                    total += cpu_seconds(pid)
                except OSError:
                    pass
        return total

    def __enter__(self):
        self.before = (*self.machine(), self.own())
        return self

    def __exit__(self, *_):
        total, busy, steal = (b - a for a, b in zip(self.before, self.machine()))
        own = self.own() - self.before[3]
        if total > 0:
            self.samples.append({"others": max(0.0, (busy - own) / total), "steal": steal / total})


WATCH = Watch()


def wait_idle(seconds, want=0.9):
    """Waits a limited time until the machine is idle; returns the idle share that was seen last."""
    limit = time.monotonic() + seconds
    while True:
        total0, busy0, steal0 = Watch.machine()
        time.sleep(1)
        total1, busy1, steal1 = Watch.machine()
        idle = 1 - (busy1 + steal1 - busy0 - steal0) / max(1e-6, total1 - total0)
        if idle >= want or time.monotonic() >= limit:
            return idle


# --- the legs --------------------------------------------------------------------------------------------------------


class Bench:
    def __init__(self, args, folder):
        self.args = args
        self.folder = folder
        self.python = args.peers / "venv/bin/python"
        self.values = {}  # name -> list of numbers, one for each round
        self.others = {}  # the same names -> share of the machine that other processes took
        self.memory = {}  # process -> list of dicts
        self.passes = 0
        self.deadline = time.monotonic() + args.minutes * 60
        self.notes = []
        self.errors = []

    def put(self, name, value):
        self.values.setdefault(name, []).append(value)
        self.others.setdefault(name, []).append(WATCH.samples[-1]["others"] if WATCH.samples else 0.0)

    def note(self, text):
        if text not in self.notes:
            self.notes.append(text)

    def measure(self, command, seconds, **more):
        """Runs one measurement; again, a limited number of times, if other processes disturbed it."""
        for left in range(self.args.retries, -1, -1):
            with WATCH:
                out = run(command() if callable(command) else command, seconds, **more)
            others = WATCH.samples[-1]["others"]
            if others <= DISTURBED or not left or time.monotonic() > self.deadline:
                return out
            say(f"  other processes took {others:.0%} of the machine: measured again")
            WATCH.samples.pop()
            wait_idle(self.args.wait_idle)

    def load(self, what, port, *more):
        def command():
            self.passes += 1  # prompts that no pass before has sent: a prefix cache must not know them
            fixed = [self.python, HERE / "load.py", what, "--port", port, "--node", NODE, "--timeout", 240]
            return [*fixed, "--seed", self.passes * 1000, *more]

        return json.loads(self.measure(command, 260))

    def throughput(self, name, what, port, *more):
        got = self.load(what, port, "-c", STREAMS, "-r", self.args.answers, *more)
        self.put(f"{name}.total_tokens_per_second", got["total_tokens_per_second"])
        self.put(f"{name}.latency_p50_ms", got["latency_ms"]["p50"])
        self.put(f"{name}.latency_p95_ms", got["latency_ms"]["p95"])
        self.put(f"{name}.prompt_tokens", got["prompt_tokens"])
        self.put(f"{name}.cached_tokens", got["cached_tokens"] / got["requests"])
        if "time_to_first_token_ms" in got:
            self.put(f"{name}.ttft_p50_ms", got["time_to_first_token_ms"]["p50"])
            self.put(f"{name}.ttft_p95_ms", got["time_to_first_token_ms"]["p95"])
        if got["ended_early"]:
            self.note(f"{name}: {got['ended_early']} of {got['requests']} answers ended before {self.args.tokens} tokens")
        say(f"  {name}: {got['total_tokens_per_second']} tok/s")

    def sample(self, **roots):
        for name, value in processes_memory(roots).items():
            self.memory.setdefault(name, []).append(value)

    def broker(self):
        port = free_port()
        conf = self.folder / "mosquitto.conf"
        conf.write_text(
            f"listener {port} 127.0.0.1\nallow_anonymous true\npersistence false\nset_tcp_nodelay true\n"
            "max_queued_messages 10000\nlog_dest stderr\nlog_type error\nlog_type warning\n"
        )
        log = self.folder / "mosquitto.log"
        process = start([self.args.mosquitto, "-c", conf], log)
        wait_for(lambda: listens(port), process, 10, "mosquitto", log)
        return process, port

    def await_ready(self, process, port, log, what):
        waiter = start([self.python, HERE / "load.py", "ready", "--port", port, "--node", NODE, "--timeout", 120], self.folder / "ready.log")
        wait_for(lambda: waiter.poll() is not None, process, 125, what, log)
        code = waiter.returncode
        stop(waiter)
        if code:
            raise RuntimeError(f"{what} did not become ready: {tail(log)}")

    # (a)
    def llama_bench(self):
        # Depth 0 is the reference; depth 31 is the same work as promptd's, which has its chat template before it.
        command = [self.args.peers / "bin/llama-bench", "-m", self.args.model, "-p", 0, "-n", DECODE_TOKENS, "-d", "0,31"]
        out = self.measure([*command, "-t", self.args.threads, "-r", 3, "-o", "json"], 300)
        for row in json.loads(out):
            name = "llama-bench.decode" if row.get("n_depth", 0) == 0 else "llama-bench-depth31.decode"
            self.put(name, row["avg_ts"])
            say(f"  {name}: {row['avg_ts']:.1f} tok/s")

    def promptd_bench(self):
        command = [self.args.promptd, "bench", "--model", self.args.model, "--streams", 1, "--prompts", 1, "--prompt-tokens", 1]
        more = ["--tokens", DECODE_TOKENS, "--rounds", 3, "--threads", self.args.threads, "--json"]
        out = self.measure([*command, *more], 300, env=self.environment())
        row = json.loads(out)["measured"][0]["streams"][0]
        self.put("promptd.decode", row["decode_tokens_per_second"])
        say(f"  promptd bench: {row['decode_tokens_per_second']:.1f} tok/s")

    # (b), (c)
    def llama_server(self):
        args, port, log = self.args, free_port(), self.folder / "llama-server.log"
        command = [args.peers / "bin/llama-server", "-m", args.model, "--host", "127.0.0.1", "--port", port, "-np", STREAMS]
        process = start([*command, "-c", STREAMS * 1024, "-t", args.threads], log)
        try:
            wait_for(lambda: answers(f"http://127.0.0.1:{port}/health"), process, 120, "llama-server", log)
            self.throughput("llama-server", "http", port)
            self.throughput("llama-server-cache", "http", port, "--cache-prompt")
            self.throughput("llama-server-stream", "http", port, "--stream")
            self.sample(**{"llama-server": process.pid})
        finally:
            stop(process)

    def batched_bench(self):
        # The engine alone on the same work: 8 sequences, prompts as long as the rendered ones.
        command = [self.args.peers / "bin/llama-batched-bench", "-m", self.args.model, "-c", STREAMS * 1024, "-npp", 78]
        more = ["-ntg", 64, "-npl", STREAMS, "-t", self.args.threads, "-tb", self.args.threads, "--output-format", "jsonl"]
        out = self.measure([*command, *more], 120)
        row = json.loads(next(line for line in out.splitlines() if line.startswith("{")))
        self.put("llama-batched-bench.total_tokens_per_second", row["pl"] * row["tg"] / row["t"])
        say(f"  llama-batched-bench: {self.values['llama-batched-bench.total_tokens_per_second'][-1]:.1f} tok/s")

    def bridge(self):
        broker, port = self.broker()
        log = self.folder / "bridge.log"
        process = start([self.python, HERE / "bridge.py", "--model", self.args.model, "--port", port, "--threads", self.args.threads], log)
        try:
            self.await_ready(process, port, log, "bridge.py")
            self.throughput("bridge", "mqtt", port)
            self.sample(bridge=process.pid)
        finally:
            stop(process)
            stop(broker)

    # (b), (c), (d), (e)
    def environment(self):
        """Keeps promptd's files in the temporary folder."""
        env = dict(os.environ)
        for name in ("STATE_DIRECTORY", "RUNTIME_DIRECTORY", "CACHE_DIRECTORY"):
            folder = self.folder / "promptd" / name.lower()
            folder.mkdir(parents=True, exist_ok=True)
            env[name] = str(folder)
        return env

    def promptd(self):
        shutil.rmtree(self.folder / "promptd", ignore_errors=True)
        broker, port = self.broker()
        log = self.folder / "promptd.log"
        conf = self.folder / "promptd.toml"
        conf.write_text(
            f'[node]\nname = "{NODE}"\n\n[mqtt]\nurl = "mqtt://127.0.0.1:{port}"\n\n'
            "[limits]\nqueue_jobs = 256\nqueue_jobs_per_client = 64\n\n"
            f'[[model]]\nname = "main"\nfiles = [{{ path = {json.dumps(str(self.args.model))} }}]\n'
            f"context = 1024\nsequences = {STREAMS}\nthreads = {self.args.threads}\n" + self.args.extra_config.replace("\\n", "\n")
        )
        env = self.environment()
        process = start([self.args.promptd, "run", "--config", conf], log, env=env, cwd=self.folder)
        try:
            self.await_ready(process, port, log, "promptd")
            if {"b", "c"} & self.args.only:
                self.throughput("promptd", "mqtt", port)
            if "b" in self.args.only:
                self.throughput("promptd-stream", "mqtt", port, "--stream")
            if "c" in self.args.only:
                self.sample(promptd=process.pid, mosquitto=broker.pid)
            if "d" in self.args.only:
                got = self.load("rtt", port, "-n", 200)
                self.put("mqtt.added_p50_ms", got["added_ms"]["p50"])
                self.put("mqtt.added_p95_ms", got["added_ms"]["p95"])
                echo = self.load("echo", port, "-n", 200)
                self.put("mqtt.echo_p50_ms", echo["round_trip_ms"]["p50"])
                say(f"  MQTT adds {got['added_ms']['p50']} ms (message to oneself: {echo['round_trip_ms']['p50']} ms)")
                if got["total_ms_is_whole"]:
                    self.note("timings.total_ms came as whole milliseconds: (d) is off by up to 1 ms")
            if "e" in self.args.only:
                self.rest(process.pid)
        finally:
            stop(process)
            stop(broker)

    def rest(self, pid):
        time.sleep(5)
        pids = family(pid)
        before = {p: cpu_seconds(p) for p in pids}
        began = time.monotonic()
        time.sleep(self.args.rest)
        spent = time.monotonic() - began
        share = {p: (cpu_seconds(p) - before[p]) / spent * 100 for p in pids}
        at = memory(pid)
        self.put("daemon.rss_mib", at["rss"])
        self.put("daemon.pss_mib", at["pss"])
        self.put("daemon.cpu_percent", share[pid])
        self.put("workers.cpu_percent", sum(v for p, v in share.items() if p != pid))
        say(f"  daemon at rest: {at['rss']} MiB, {share[pid]:.2f} % of one core")

    def plan(self):
        only, have = self.args.only, self.args.promptd is not None
        legs = []
        if "a" in only:
            legs += [("llama-bench", self.llama_bench)] + [("promptd bench", self.promptd_bench)] * have
        if have and {"b", "c", "d", "e"} & only:
            legs.append(("promptd over MQTT", self.promptd))
        if {"b", "c"} & only:
            legs += [("llama-server", self.llama_server), ("bridge.py", self.bridge)]
        if "b" in only:
            legs.append(("llama-batched-bench", self.batched_bench))
        return legs

    def go(self):
        for number in range(1, self.args.rounds + 1):
            for name, leg in self.plan():
                title = f"round {number}/{self.args.rounds}: {name}"
                if time.monotonic() > self.deadline:
                    self.errors.append(f"{title}: left out, --minutes {self.args.minutes:g} are over")
                    continue
                idle = wait_idle(self.args.wait_idle)
                say(f"{title} (machine {idle:.0%} idle before)")
                try:
                    leg()
                except (RuntimeError, OSError, ValueError, KeyError, StopIteration) as error:
                    self.errors.append(f"{title}: {error or type(error).__name__}")
                    say(f"  failed: {error!r}")

    # --- the result ---

    def median(self, name):
        values = self.values.get(name)
        return statistics.median(values) if values else None

    def rows(self):
        """The lines of the table: what was measured, beside its target."""
        rows = []

        def add(part, name, unit, inputs, least=None, most=None):
            if part not in self.args.only:
                return
            values = [self.median(name) for name in inputs]
            row = {"part": part, "name": name, "promptd": values[0], "unit": unit, "least": least, "most": most, "met": None}
            if least is not None:
                row["peer"], row["ratio"] = values[1], None
            if None not in values:
                if least is not None:
                    row["ratio"] = values[0] / values[1]
                    row["met"] = row["ratio"] >= least
                else:
                    row["met"] = values[0] <= most
            # A median stands one bad round of three, not two.
            row["disturbed"] = any(statistics.median(self.others.get(name, [0])) > DISTURBED for name in inputs)
            rows.append(row)

        total = "total_tokens_per_second"
        ours = f"promptd.{total}"
        add("a", "1 stream, decode / llama-bench", "tok/s", ["promptd.decode", "llama-bench.decode"], least=0.97)
        add("b", "8 streams / llama-server, no cache", "tok/s", [ours, f"llama-server.{total}"], least=0.97)
        add("b", "8 streams / llama-server as it comes", "tok/s", [ours, f"llama-server-cache.{total}"], least=0.97)
        add("b", "8 streams / paho + llama-cpp-python", "tok/s", [ours, f"bridge.{total}"], least=1.4)
        add("d", "MQTT adds, median", "ms", ["mqtt.added_p50_ms"], most=1.0)
        add("e", "daemon at rest, RSS", "MiB", ["daemon.rss_mib"], most=20.0)
        add("e", "daemon at rest, CPU", "%", ["daemon.cpu_percent"], most=0.5)
        return rows

    def report(self):
        rows = self.rows()
        memory_medians = {
            name: {key: statistics.median(s[key] for s in samples) for key in samples[0]} for name, samples in self.memory.items()
        }
        others = [s["others"] for s in WATCH.samples]
        steal = [s["steal"] for s in WATCH.samples]
        with open("/proc/cpuinfo") as f:
            cpu = next((line.split(":", 1)[1].strip() for line in f if line.startswith(("model name", "CPU part"))), "?")
        peers = json.loads((self.args.peers / "peers.json").read_text())
        equal = peers.get("engine_sources")
        if equal == "unknown":
            self.note("setup.sh could not compare the peers' engine sources with promptd's")
        if equal == "replaced":
            self.note("the llama.cpp tools were built on the engine sources that promptd bundles, not on their own")
        busy = max(others, default=0)
        if busy > DISTURBED:
            self.note(f"other processes took up to {busy:.0%} of the machine during a measurement")
        if max(steal, default=0) > 0.05:
            self.note(f"the host took up to {max(steal):.0%} of the machine (steal)")
        return {
            "date": datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="seconds"),
            "machine": {"cpu": cpu, "cores": os.cpu_count(), "kernel": platform.release(), "arch": platform.machine()},
            "model": self.args.model.name,
            "threads": self.args.threads,
            "rounds": self.args.rounds,
            "peers": peers,
            "others_cpu_share": {"median": statistics.median(others) if others else None, "max": max(others, default=None)},
            "steal_share_max": max(steal, default=None),
            "results": rows,
            "medians": {name: statistics.median(v) for name, v in sorted(self.values.items())},
            "values": self.values,
            "memory_mib": memory_medians,
            "notes": self.notes,
            "errors": self.errors,
        }


def show(report, bench):
    def number(value, digits=2):
        return "–" if value is None else f"{value:.{digits}f}"

    print(f"\n{report['model']}, {report['threads']} threads, {report['machine']['cpu']}, {report['rounds']} rounds, medians")
    others = report["others_cpu_share"]
    if others["max"] is not None:
        print(f"other processes while measuring: median {others['median']:.1%}, at most {others['max']:.1%} of the machine")
    print(f"\n{'':2}{'what':38}{'promptd':>10}{'peer':>10}{'ratio':>8}{'target':>12}  verdict")
    for row in report["results"]:
        target = f">= {row['least']} x" if row["least"] is not None else f"<= {row['most']} {row['unit']}"
        verdict = {True: "met", False: "MISSED", None: "not measured"}[row["met"]] + ", disturbed" * row["disturbed"]
        print(
            f"{row['part']} {row['name']:38}{number(row['promptd']):>10}{number(row.get('peer')):>10}"
            f"{number(row.get('ratio'), 3):>8}{target:>12}  {verdict}"
        )
    print(f"\n{'':2}{'figure':48}{'median':>10}{'min':>10}{'max':>10}")
    for name, values in sorted(bench.values.items()):
        print(f"  {name:48}{statistics.median(values):>10.2f}{min(values):>10.2f}{max(values):>10.2f}")
    if report["memory_mib"]:
        print(f"\n{'':2}{'memory after the load, MiB':38}{'RSS':>10}{'PSS':>10}{'anonymous':>11}")
        for name, value in report["memory_mib"].items():
            print(f"  {name:38}{value['rss']:>10.1f}{value['pss']:>10.1f}{value['anonymous']:>11.1f}")
    for text in report["notes"]:
        print(f"note: {text}")
    for text in report["errors"]:
        print(f"error: {text}")


def arguments():
    parser = argparse.ArgumentParser(description="promptd beside its peers", epilog="parts: " + ", ".join(f"{k} {v}" for k, v in PARTS.items()))
    parser.add_argument("--promptd", type=pathlib.Path, help="the promptd binary; left out, only the peers are measured")
    parser.add_argument("--model", type=pathlib.Path, required=True, help="GGUF file")
    parser.add_argument("--peers", type=pathlib.Path, required=True, help="the folder that setup.sh made")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--only", default="a,b,c,d,e", help="parts to run (default: all)")
    parser.add_argument("--json", type=pathlib.Path, help="also write everything to this file")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--answers", type=int, default=3, help="answers for each of the 8 clients in one measurement")
    parser.add_argument("--rest", type=float, default=20, help="seconds to watch the daemon at rest")
    parser.add_argument("--wait-idle", type=float, default=60, help="at most so many seconds to wait for an idle machine before each leg")
    parser.add_argument("--retries", type=int, default=2, help="how often to repeat a measurement that other processes disturbed")
    parser.add_argument("--minutes", type=float, default=40, help="start nothing more after this time, and report what there is")
    parser.add_argument("--extra-config", default="", help="TOML appended to promptd's configuration")
    parser.add_argument("--mosquitto", default=None, help="path of mosquitto")
    parser.add_argument("--strict", action="store_true", help="exit 1 if a target is missed, was not measured, or something was disturbed")
    args = parser.parse_args()
    args.tokens = 64
    args.only = set(args.only.split(","))
    if not args.only <= set(PARTS):
        parser.error(f"--only takes {','.join(PARTS)}")
    args.model, args.peers = args.model.resolve(), args.peers.resolve()
    args.promptd = args.promptd and args.promptd.resolve()
    args.mosquitto = args.mosquitto or shutil.which("mosquitto", path=os.environ.get("PATH", "") + ":/usr/sbin:/usr/local/sbin")
    for path in filter(None, (args.model, args.promptd, args.peers / "stamp")):
        if not path.exists():
            parser.error(f"{path} does not exist" + (" (run setup.sh first)" if path.name == "stamp" else ""))
    if not args.mosquitto:
        parser.error("mosquitto is missing")
    return args


def main():
    args = arguments()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    adopt_orphans()
    atexit.register(stop_all)
    with tempfile.TemporaryDirectory(prefix="promptd-peers-") as folder:
        bench = Bench(args, pathlib.Path(folder))
        try:
            bench.go()
        finally:
            stop_all()
        report = bench.report()
    show(report, bench)
    if args.json:
        args.json.write_text(json.dumps(report, indent=1) + "\n")
    if report["errors"]:
        sys.exit(2)
    if args.strict and not all(row["met"] and not row["disturbed"] for row in report["results"]):
        sys.exit(1)


if __name__ == "__main__":
    main()
