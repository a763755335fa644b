#!/usr/bin/env python3
"""The dashboard is as Grafana wants it and a person needs it: what is wrong is printed, and the exit code is 1.

    docker/grafana/check.py

Whether its expressions return data is seen by docker/prometheus/check.py.
"""

import itertools
import json
import re
import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent

# Units of Grafana's list (`getValueFormats` of @grafana/data) that are used here; `suffix:` is for any other.
UNITS = {"none", "s", "bytes", "percentunit", "reqps"}

ROWS = ["Is it up?", "Is it fast?", "Is it full?", "Is it right?", "Has the traffic changed?"]

COLUMNS = 24


def overlap(a, b):
    return (
        a["x"] < b["x"] + b["w"]
        and b["x"] < a["x"] + a["w"]
        and a["y"] < b["y"] + b["h"]
        and b["y"] < a["y"] + a["h"]
    )


def wrong_in_panel(panel, datasource):
    description = panel.get("description", "")
    if not re.fullmatch(r"[A-Z].*\.", description):
        yield "its description is no sentence"
    unit = panel["fieldConfig"]["defaults"].get("unit", "")
    if unit not in UNITS and not re.fullmatch(r"suffix:.+", unit):
        yield f'its unit is "{unit}"'
    targets = panel.get("targets", [])
    if not targets:
        yield "it asks nothing"
    if len({target["refId"] for target in targets}) != len(targets):
        yield "two of its targets have one refId"
    for target in targets:
        if not target.get("expr", "").strip():
            yield f"target {target['refId']} has no expression"
    for asked in [panel, *targets]:
        if asked.get("datasource") != datasource:
            yield f"its data source is {asked.get('datasource')}, the one that is provisioned is {datasource}"


def wrong(dashboard, datasource):
    panels = dashboard["panels"]
    if [panel["title"] for panel in panels if panel["type"] == "row"] != ROWS:
        yield f"its rows are not {ROWS}"
    if len({panel["id"] for panel in panels}) != len(panels):
        yield "two panels have one id"
    for panel in panels:
        place = panel["gridPos"]
        if place["x"] < 0 or place["x"] + place["w"] > COLUMNS or min(place["w"], place["h"]) < 1:
            yield f"{panel['title']}: {place} is not within {COLUMNS} columns"
        if panel["type"] != "row":
            yield from (f"{panel['title']}: {problem}" for problem in wrong_in_panel(panel, datasource))
    for a, b in itertools.combinations(panels, 2):
        if overlap(a["gridPos"], b["gridPos"]):
            yield f"{a['title']} and {b['title']} lie on one another"
    titles = [panel["title"] for panel in panels]
    if len(set(titles)) != len(titles):
        yield "two panels have one title"
    known = {variable["name"] for variable in dashboard["templating"]["list"]}
    used = set(re.findall(r"\$(?!__)(\w+)", json.dumps(panels)))
    if known != used:
        yield f"its variables are {known}, those used are {used}"


def main():
    provisioned = (HERE / "provisioning/datasources/prometheus.yaml").read_text()
    uid = re.search(r"uid: (\S+)", provisioned)[1]
    dashboard = json.loads((HERE / "dashboards/resnet.json").read_text())
    problems = list(wrong(dashboard, {"type": "prometheus", "uid": uid}))
    if problems:
        sys.exit("\n".join(problems))
    print(f"{len(dashboard['panels'])} panels are in order")


if __name__ == "__main__":
    main()
