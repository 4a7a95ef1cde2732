# One task runner: `just` lists what there is.

_:
    @just --list

# What continuous integration runs.
ci:
    .ci/run

# All tests.
test:
    cargo test --workspace

# A real incident, caught within a minute.
demo *ARGS:
    cargo run --release --bin demo -- {{ARGS}}

# Make sample_data/ anew (it does not change: the seed is fixed).
sample-data:
    cargo run -p demo --bin generate-sample-data

# Whole-process benchmarks against a real Kafka broker.
bench *ARGS:
    cargo bench -p monitoring-service --bench whole_process -- {{ARGS}}

# What of the running stack (`docker compose up -d --build --wait`) is lit.
check-stack *ARGS:
    scripts/check-stack {{ARGS}}
