#!/usr/bin/env python3
"""How a database is best deployed: the same pod kill for every combination of controller, access mode, grace period and way of stopping.

    benches/deployment_matrix.py WHERE [--repeat N] [--class NAME] [--image REFERENCE] [--chaos PATH]

WHERE is what `chaos run --cluster` takes, such as kind:chaos. Prints a Markdown table, which docs/deploying.md shows. Every cell is a run of its own; what it
measured is taken from its report.json and timeline.jsonl, and its verdict is none of this script's business: an overlap is what is being looked for.
"""

import argparse
import json
import pathlib
import subprocess
import sys
import tempfile

POD_GRACE_S = 10

EXPERIMENT = """\
name: matrix-{controller}-{mode}-{grace}-{stops}
target:
  engine: tds-sqlite
  {image}
  controller: {controller_id}
  storage: {{ size: 64Mi, accessMode: {access_mode}{storage_class} }}
  grace: {pod_grace}s
  ignoreSigterm: {ignores}
workload: {{ clients: 4, rate: 50/s, warmUp: 3s }}
faults:
  - pod-kill: {{ grace: {grace_id} }}
    at: 2s
    repeat: {repeat}
    every: 25s
expect: {{ overlap: allowed, reconnect: {{ max: 90s }} }}
coldRead: false
"""


def restarts(folder):
    """How often containers of the database ended by themselves and were started again: what a server does that finds its files locked."""
    counted = {}
    for line in (folder / "timeline.jsonl").read_text().splitlines():
        event = json.loads(line)
        if event.get("event") == "pod":
            for container in event["pod"]["containers"]:
                counted[event["pod"]["uid"]] = max(counted.get(event["pod"]["uid"], 0), container["restarts"])
    return sum(counted.values())


def cell(options, scratch, controller, mode, grace, ignores):
    text = EXPERIMENT.format(
        controller=controller.lower(),
        controller_id=controller,
        mode=mode.lower(),
        access_mode={"RWO": "ReadWriteOnce", "RWOP": "ReadWriteOncePod"}[mode],
        grace=grace,
        grace_id={"forced": "0s", "pod": "pod"}[grace],
        stops="ignores" if ignores else "stops",
        ignores=str(ignores).lower(),
        pod_grace=POD_GRACE_S,
        image=f"image: {options.image}" if options.image else "",
        storage_class=f", class: {options.storage_class}" if options.storage_class else "",
        repeat=options.repeat,
    )
    file = scratch / "cell.yaml"
    file.write_text(text)
    command = [options.chaos, "run", str(file), "--cluster", options.where, "--reports", str(scratch / "reports"), "--quiet", "--output", "json"]
    run = subprocess.run(command, capture_output=True, text=True)
    if run.returncode not in (0, 1, 2):
        sys.exit(f"{text}\nended with {run.returncode}: {run.stderr}")
    report = json.loads(run.stdout)
    if any(fault.get("attested") is not True for fault in report["faults"]) or len(report["faults"]) < options.repeat:
        sys.exit(f"{text}\nnot every kill took effect: {json.dumps(report['reasons'])}")
    outages = sorted(episode["outageMs"] for episode in report["episodes"] if episode["outageMs"] is not None)
    writer = next(check for check in report["checks"] if check["name"] == "single-writer")
    ledger = next(check for check in report["checks"] if check["name"] == "ledger")
    folder = (scratch / "reports" / "latest").resolve()
    return {
        "outages": outages,
        "overlaps": writer["counts"]["overlaps"],
        "longest": writer["counts"]["longestMs"],
        "both_ready": any("both were ready" in line for line in writer["evidence"]),
        "restarts": restarts(folder),
        "lost": ledger["counts"].get("lost", 0),
        "verdict": report["verdict"],
    }


def seconds(ms):
    return f"{ms / 1000:.1f}"


def length(ms):
    return f"{ms} ms" if ms < 1000 else f"{seconds(ms)} s"


def row(controller, mode, grace, ignores, seen, kills):
    outages = seen["outages"]
    cut_off = " – ".join(dict.fromkeys([seconds(outages[0]), seconds(outages[-1])])) if outages else "none seen"
    overlap = "none seen" if not seen["overlaps"] else f"{seen['overlaps']}, the longest {length(seen['longest'])}{', **both ready**' if seen['both_ready'] else ''}"
    grace = "0 s (forced)" if grace == "forced" else f"pod's, {POD_GRACE_S} s"
    return f"| {controller} | {mode} | {grace} | {'ignores it' if ignores else 'stops'} | {cut_off} | {overlap} | {seen['restarts']} | {seen['lost']} |"


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("where")
    parser.add_argument("--repeat", type=int, default=2)
    parser.add_argument("--class", dest="storage_class")
    parser.add_argument("--image")
    parser.add_argument("--chaos", default="target/release/chaos")
    options = parser.parse_args()
    print(f"| controller | access mode | grace of the kill | SIGTERM | outage, s (n = {options.repeat}) | two instances at once | restarts until the lock was free | commits lost |")
    print("|---|---|---|---|---|---|---|---|", flush=True)
    for controller in ("Deployment", "StatefulSet"):
        for mode in ("RWO", "RWOP"):
            for grace in ("forced", "pod"):
                for ignores in (False, True):
                    with tempfile.TemporaryDirectory() as scratch:
                        seen = cell(options, pathlib.Path(scratch), controller, mode, grace, ignores)
                    print(row(controller, mode, grace, ignores, seen, options.repeat), flush=True)


main()
