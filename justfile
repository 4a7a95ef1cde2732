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

# Generate both sets in sample_data/ (they do not change: the seed is fixed).
sample-data:
    cargo run -p demo --bin generate-sample-data

# Whole-process benchmarks against a real Kafka broker.
bench *ARGS:
    cargo bench -p monitoring-service --bench whole_process -- {{ARGS}}

# Take over what the API answers into docs/ and into the examples of the contract (which are compiled in: twice).
contract:
    -cargo test -p monitoring-service --test it contract
    cp -r target/tmp/contract/. .
    -cargo test -p monitoring-service --test it contract
    cp -r target/tmp/contract/. .

# What of the running stack (`docker compose up -d --build --wait`) is lit.
check-stack *ARGS:
    scripts/check-stack {{ARGS}}
