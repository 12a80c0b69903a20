# `just` lists the recipes; `just ci` runs what CI runs.

default:
    @just --list

# What CI runs: tests, format, lints, and the real cluster where there is one.
ci:
    .ci/run

# All tests.
test:
    cargo test --workspace

# What is too long for every change: brute force against the checkers, fifty kills of the stand-in engine, every planted defect.
deep:
    .ci/deep

# Format and lints.
lint:
    cargo fmt --all --check
    cargo clippy --workspace --all-targets -- -D warnings

# Licences, advisories and banned crates; needs cargo-deny.
deny:
    cargo deny check

# One run on the sandbox, half a minute.
smoke:
    cargo run --release -- run experiments/smoke.yaml

# The main experiment; `just run kind` for a kind cluster.
run cluster="sandbox":
    cargo run --release -- run experiments/pod-kill.yaml --cluster {{cluster}}

# The run that must fail: an engine that acknowledges before it writes.
selftest:
    cargo run --release -- run experiments/selftest/lose-acked.yaml; test $? -eq 1

# Write the JSON Schemas anew after a change of the experiment file's keys or of the report.
schema:
    cargo run -q -- schema > experiments/schema.json
    cargo run -q -- schema --report > reports/schema.json

# Run the sample's experiment on the sandbox and put its folder in place of the committed one.
sample:
    .ci/sample

# Every way of deploying the database under the same pod kill, as the table of docs/deploying.md; a quarter of an hour.
matrix where="kind:chaos" *options="":
    cargo build --release --bin chaos
    benches/deployment_matrix.py {{where}} {{options}}

# Process start to the DELETE at the API server: ours, kubectl's, Chaos Toolkit's.
race context runs="10":
    benches/pod_kill_race.sh {{context}} {{runs}}

# The conformance suite with every experiment, on the sandbox and on the kind cluster of that name; most of two hours.
real name="chaos":
    CHAOS_TEST_KIND={{name}} CHAOS_TEST_ALL=1 cargo test --test conformance -- --nocapture
