#!/usr/bin/env python3
"""A real Prometheus scrapes real servers: each alert of alerts.yml fires where its cause is, and each expression of the
rules, of the dashboard and of docs/METRICS.md returns data.

    cargo build --features fail-points
    docker/prometheus/check.py target/debug/resnet

Needs `prometheus` on the PATH. The faults are those of src/faults.rs. Intervals and the `for:` of the alerts are
shortened in copies of the files, expressions are as they are: a window that is longer than what has been scraped has what
there is. alerts_test.yml has the real times; its series are compared with those that the servers have. Nothing waits for a
time: what is wanted is asked for until it is there.
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
    ("drifting", "", [], 1),
    # It is restarted, then idle connections take its places.
    ("quiet", "", ["--max-connections", "10"], 0),
]

# Alerts, and by which labels the one is known that must fire; `absent` is an address at which nobody listens.
ALERTS = [
    ("ResnetDown", {"instance": "absent"}),
    ("ResnetRestarts", {"instance": "quiet"}),
    ("ResnetErrorBudgetFastBurn", {"model": "resnet18-tiny"}),
    ("ResnetErrorBudgetSlowBurn", {"model": "resnet18-tiny"}),
    ("ResnetRejections", {}),
    ("ResnetStuck", {"instance": "stuck"}),
    ("ResnetOutOfMemory", {"instance": "failing"}),
    ("ResnetFaults", {"instance": "busy", "format": "png"}),
    ("ResnetFaults", {"instance": "busy", "format": None}),
    ("ResnetSlow", {}),
    ("ResnetSaturated", {"instance": "busy"}),
    ("ResnetLimitNear", {"instance": "quiet", "limit": "max-connections"}),
]

# That of photos which are others than they were: a plain one, which no class looks like.
DRIFT = ("ResnetDrift", {"model": "resnet18-tiny"})
PLAIN = b"P6 64 64 255 " + bytes([128]) * (3 * 64 * 64)

# What Grafana puts in place of the dashboard's variables.
VARIABLES = {"$instance": ".*", "$__rate_interval": "1m"}


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


def serve(binary, dir, name, faults, flags, port="0"):
    command = [binary, "serve", "--port", port, "--log-format", "json", *ONE_THREAD, *flags]
    env = {key: value for key, value in os.environ.items() if not key.startswith("RESNET_")}
    env |= {"RESNET_FAULTS": faults, "RESNET_MODEL": "resnet18-tiny"}
    return Process(dir / f"{name}.log", r'"address":"http://([0-9.:]+)"', command, env=env)


def prometheus(dir, targets):
    config = (HERE / "prometheus.yml").read_text()
    config = replaced(config, "15s", "250ms")
    config = replaced(config, "[resnet:8080]", json.dumps(targets))
    (dir / "prometheus.yml").write_text(config)
    for rules in ["recording.yml", "alerts.yml"]:
        text = re.sub(r"for: \d+m", "for: 1s", (HERE / rules).read_text())
        # What is compared with all that was.
        text = replaced(text, "resnet_top1_probability_count[1h]", "resnet_top1_probability_count[3s]")
        text = text.replace("resnet_top1_probability_sum[1h]", "resnet_top1_probability_sum[3s]")
        (dir / rules).write_text(text.replace("> 100", "> 5"))
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


def dashboard_queries():
    dashboard = json.loads((HERE.parent / "grafana/dashboards/resnet.json").read_text())
    queries = [target["expr"] for panel in dashboard["panels"] for target in panel.get("targets", [])]
    for name, value in VARIABLES.items():
        queries = [query.replace(name, value) for query in queries]
    return queries


def tested_series():
    """Name and labels of each series that alerts_test.yml makes up."""
    text = (HERE / "alerts_test.yml").read_text()
    for name, labels in re.findall(r"- series: (\w+)\{(.*)\}", text):
        yield name, dict(re.findall(r'(\w+)="(.*?)"', labels))


def exists(prom, name, labels):
    """Whether the servers have this series but for what depends on who runs and asks them."""
    # A call of gRPC takes more than Python's own library.
    ours = {"job", "instance", "model", "status"} | ({"route"} if "GRPC" in labels.get("route", "") else set())
    matchers = [f'{key}=~".*"' if key in ours else f'{key}="{value}"' for key, value in labels.items()]
    selector = f"{name}{{{', '.join(matchers)}}}"
    found = ask(prom, "/api/v1/series?" + urllib.parse.urlencode({"match[]": selector}))
    # A label that is empty is none.
    wanted = {key for key, value in labels.items() if value}
    return any(wanted <= series.keys() for series in found)


class Clients:
    """Closed loops of POSTs until the end; `told` are the waits that refusals have told, in milliseconds."""

    def __init__(self):
        self.ended = threading.Event()
        self.threads = []
        self.told = []

    def start(self, address, count, body=PHOTO):
        threads = [threading.Thread(target=self.loop, args=(address, body)) for _ in range(count)]
        self.threads += threads
        for thread in threads:
            thread.start()

    def loop(self, address, body):
        while not self.ended.wait(0.05):
            connection = http.client.HTTPConnection(address, timeout=20)
            try:
                connection.request("POST", "/classify", body)
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


def restart(binary, dir, prom, process, name, faults, flags):
    """The server, ended and started again at its address, once Prometheus has seen it."""
    instance = f'process_start_time_seconds{{instance="{process.address}"}}'
    before = until(f"{name} is scraped", lambda: query(prom, instance))
    process.end()
    port = process.address.rpartition(":")[2]
    started = serve(binary, dir, name, faults, flags, port)
    until(f"{name} is scraped again", lambda: query(prom, instance) not in ([], before))
    return started


def check(binary, dir, processes, clients):
    known = set(re.findall(r"- alert: (\w+)", (HERE / "alerts.yml").read_text()))
    if known != {alert for alert, _ in [*ALERTS, DRIFT]}:
        sys.exit(f"alerts.yml has {sorted(known)}, and not each has its cause here")
    runbook = (ROOT / "docs/RUNBOOK.md").read_text()
    for url in re.findall(r"runbook_url: (.*)", (HERE / "alerts.yml").read_text()):
        file, _, alert = url.partition("#")
        if file != "docs/RUNBOOK.md" or f"\n## {alert}\n" not in runbook.lower():
            sys.exit(f"{url} leads nowhere")
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
    busy, _, stuck, drifting, quiet = [process.address for process in processes[: len(SERVERS)]]
    clients.start(busy, 1, b"no image")
    for _ in range(2):
        index = len(SERVERS) - 1
        processes[index] = restart(binary, dir, prom, processes[index], *SERVERS[index][:3])
    get(quiet, "/readyz")
    host, port = quiet.split(":")
    # With Prometheus' own it is all that there may be.
    idle = [socket.create_connection((host, int(port))) for _ in range(9)]

    for alert, labels in ALERTS:
        until(f"{alert} {labels} fires", lambda: fires(prom, names, alert, labels))
    until("it is known how sure the model is", lambda: query(prom, "sum(resnet_top1_probability_count) > 200"))
    clients.start(drifting, 3, PLAIN)
    until(f"{DRIFT} fires", lambda: fires(prom, names, *DRIFT))
    # The second half of ResnetStuck: a probe is told while other threads still work.
    probed = 'rate(resnet_requests_total{route="/livez", status="503"}[5m]) > 0'
    until("the liveness probe fails", lambda: get(stuck, "/livez")[0] == 503 and query(prom, probed))
    groups = ask(prom, "/api/v1/rules")["groups"]
    rules = [rule["query"] for group in groups for rule in group["rules"]]
    queries = rules + documented_queries() + dashboard_queries()
    for text in queries:
        until(f"data of {text}", lambda: query(prom, text))
    tested = list(tested_series())
    for name, labels in tested:
        until(f"{name} {labels} of alerts_test.yml exists", lambda: exists(prom, name, labels))
    shown = "max(max_over_time(resnet_estimated_wait_seconds[5m])) * 1000"
    until("refusals with a wait", lambda: clients.told)
    until(
        "the estimated wait is what refused clients are told",
        lambda: max(query(prom, shown)) >= min(clients.told),
    )
    for connection in idle:
        connection.close()
    print(f"{len(known)} alerts fire, {len(queries)} queries return data, {len(tested)} series are real")


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
