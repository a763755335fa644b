#!/usr/bin/env python3
"""A real Prometheus scrapes real servers: each alert of alerts.yml fires where its cause is, and each query of
docs/METRICS.md returns data.

    cargo build --features fail-points
    docker/prometheus/check.py target/debug/resnet

Needs `prometheus` on the PATH. The faults are those of src/faults.rs. Intervals and the `for:` of the alerts are
shortened in copies of the two files; alerts_test.yml has the real ones. Nothing waits for a time: what is wanted is asked
for until it is there.
"""

import http.client
import json
import math
import os
import re
import socket
import subprocess
import sys
import tempfile
import threading
import time
import urllib.parse
from pathlib import Path

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent.parent
PHOTO = (ROOT / "tests/fixtures/photos/espresso.png").read_bytes()

# How long what is wanted may take to come.
PATIENCE = 60.0

ONE_THREAD = ["--workers", "1", "--prep-threads", "1", "--max-batch-size", "1"]
# Name, faults, flags, clients: the first run of a network is its warm-up.
SERVERS = [
    # A decoder panics, then a worker; then each image takes 300 ms, so of twelve clients some are refused.
    ("busy", "decode=1*panic; worker=1*panic; engine-run=1*off->sleep(300)", [], 12),
    ("failing", "decode-allocation=1*return; engine-run=1*off->panic", [], 1),
    (
        "stuck",
        "engine-run=1*off->sleep(600000)",
        ["--watchdog-timeout", "500ms", "--decode-timeout", "400ms", "--request-timeout", "1s"],
        1,
    ),
]

# Alerts, and by which labels the one is known that must fire; `absent` is an address at which nobody listens.
ALERTS = [
    ("ResnetDown", {"instance": "absent"}),
    ("ResnetErrors", {"model": "resnet18-tiny"}),
    ("ResnetRejections", {}),
    ("ResnetStuck", {"instance": "stuck", "reason": "stuck"}),
    ("ResnetStuck", {"instance": "failing", "reason": "out_of_memory"}),
    ("ResnetFaults", {"instance": "busy", "format": "png"}),
    ("ResnetFaults", {"instance": "busy", "format": None}),
    ("ResnetSlow", {}),
    ("ResnetSaturated", {"instance": "busy"}),
]


def until(what, check):
    """Repeats a check until it gives something, and returns that."""
    deadline = time.monotonic() + PATIENCE
    while time.monotonic() < deadline:
        if found := check():
            return found
        time.sleep(0.05)
    sys.exit(f"it never came to pass: {what}")


def replaced(text, old, new):
    if old not in text:
        sys.exit(f"{old!r} is not in the file that is to be shortened")
    return text.replace(old, new)


class Process:
    """A child whose log tells its address."""

    def __init__(self, log, address, command, **options):
        self.log = log
        with log.open("w") as stderr:
            self.child = subprocess.Popen(command, stderr=stderr, **options)
        self.address = until(f"{command[0]} listens", lambda: self.find(address))

    def find(self, pattern):
        if self.child.poll() is not None:
            sys.exit(self.log.read_text())
        found = re.search(pattern, self.log.read_text())
        return found and found[1]

    def end(self):
        self.child.kill()
        self.child.wait()


def serve(binary, dir, name, faults, flags):
    command = [binary, "serve", "--port", "0", "--log-format", "json", *ONE_THREAD, *flags]
    env = {key: value for key, value in os.environ.items() if not key.startswith("RESNET_")}
    env |= {"RESNET_FAULTS": faults, "RESNET_MODEL": "resnet18-tiny"}
    return Process(dir / f"{name}.log", r'"address":"http://([0-9.:]+)"', command, env=env)


def prometheus(dir, targets):
    config = (HERE / "prometheus.yml").read_text()
    config = replaced(config, "15s", "250ms")
    config = replaced(config, "[resnet:8080]", json.dumps(targets))
    (dir / "prometheus.yml").write_text(config)
    alerts = re.sub(r"for: \d+m", "for: 1s", (HERE / "alerts.yml").read_text())
    (dir / "alerts.yml").write_text(alerts)
    command = [
        "prometheus",
        f"--config.file={dir}/prometheus.yml",
        f"--storage.tsdb.path={dir}/data",
        "--web.listen-address=127.0.0.1:0",
    ]
    return Process(dir / "prometheus.log", r'msg="Listening on" address="?([0-9.:]+)', command)


def get(address, path):
    connection = http.client.HTTPConnection(address, timeout=20)
    connection.request("GET", path)
    response = connection.getresponse()
    status, body = response.status, response.read()
    connection.close()
    return status, body


def ask(address, path):
    answer = json.loads(get(address, path)[1])
    if answer["status"] != "success":
        sys.exit(f"{path}: {answer}")
    return answer["data"]


def query(address, text):
    """The samples of an instant query, but those that are no numbers."""
    data = ask(address, "/api/v1/query?" + urllib.parse.urlencode({"query": text}))
    values = [float(sample["value"][1]) for sample in data["result"]]
    return [value for value in values if math.isfinite(value)]


def documented_queries():
    text = (ROOT / "docs/METRICS.md").read_text()
    blocks = re.findall(r"```promql\n(.*?)```", text, re.DOTALL)
    lines = [line for block in blocks for line in block.splitlines()]
    return [line for line in lines if line and not line.startswith("#")]


class Clients:
    """Closed loops of POSTs until the end; `told` are the waits that refusals have told, in milliseconds."""

    def __init__(self):
        self.ended = threading.Event()
        self.threads = []
        self.told = []

    def start(self, address, count):
        threads = [threading.Thread(target=self.loop, args=(address,)) for _ in range(count)]
        self.threads += threads
        for thread in threads:
            thread.start()

    def loop(self, address):
        while not self.ended.wait(0.05):
            connection = http.client.HTTPConnection(address, timeout=20)
            try:
                connection.request("POST", "/classify", PHOTO)
                problem = json.load(connection.getresponse())
                if "estimated_wait_ms" in problem:
                    self.told.append(problem["estimated_wait_ms"])
            except OSError:
                pass  # the next one tells
            finally:
                connection.close()

    def end(self):
        self.ended.set()
        for thread in self.threads:
            thread.join()


def fires(prom, names, alert, labels):
    def matches(firing):
        have = firing["labels"]
        instance = names.get(have.get("instance"))
        wanted = {key: instance if key == "instance" else have.get(key) for key in labels}
        return firing["state"] == "firing" and have["alertname"] == alert and wanted == labels

    return any(matches(firing) for firing in ask(prom, "/api/v1/alerts")["alerts"])


def check(binary, dir, processes, clients):
    known = set(re.findall(r"- alert: (\w+)", (HERE / "alerts.yml").read_text()))
    if known != {alert for alert, _ in ALERTS}:
        sys.exit(f"alerts.yml has {sorted(known)}, and not each has its cause here")
    nobody = socket.socket()
    nobody.bind(("127.0.0.1", 0))
    names = {f"127.0.0.1:{nobody.getsockname()[1]}": "absent"}
    for name, faults, flags, _ in SERVERS:
        processes.append(serve(binary, dir, name, faults, flags))
        names[processes[-1].address] = name
    processes.append(prometheus(dir, list(names)))
    prom = processes[-1].address
    # It listens before it has opened its database.
    until("Prometheus is ready", lambda: get(prom, "/-/ready")[0] == 200)
    # What happens before the first scrape has not increased.
    series = "count(resnet_worker_restarts_total)"
    until("all are scraped", lambda: query(prom, series) == [len(SERVERS)])

    for process, (_, _, _, count) in zip(processes, SERVERS):
        clients.start(process.address, count)
    for alert, labels in ALERTS:
        until(f"{alert} {labels} fires", lambda: fires(prom, names, alert, labels))
    queries = documented_queries()
    for text in queries:
        until(f"data of {text}", lambda: query(prom, text))
    shown = "max(max_over_time(resnet_estimated_wait_seconds[5m])) * 1000"
    until("refusals with a wait", lambda: clients.told)
    until(
        "the estimated wait is what refused clients are told",
        lambda: max(query(prom, shown)) >= min(clients.told),
    )
    print(f"{len(known)} alerts fire, {len(queries)} queries return data")


def main():
    processes, clients = [], Clients()
    with tempfile.TemporaryDirectory() as dir:
        try:
            check(os.path.abspath(sys.argv[1]), Path(dir), processes, clients)
        finally:
            clients.end()
            for process in processes:
                process.end()


if __name__ == "__main__":
    main()
