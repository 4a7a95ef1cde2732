# `just` lists the tasks.

_:
    @just --list

# Every check that continuous integration runs.
ci:
    .ci/run

# All tests.
test:
    cargo test --workspace

# Broker, service and a replay of the sample data in one process.
demo *ARGS:
    cargo run --release --bin demo -- {{ARGS}}

# Generate both sets in sample_data/ (they do not change: the seed is fixed).
sample-data:
    cargo run -p demo --bin generate-sample-data

# Whole-process benchmarks against a real Kafka broker.
bench *ARGS:
    cargo bench -p monitoring-service --bench whole_process -- {{ARGS}}

# Update docs/ and the contract's examples from the API's answers. Runs twice, because the examples are compiled in.
contract:
    -cargo test -p monitoring-service --test it contract
    cp -r target/tmp/contract/. .
    -cargo test -p monitoring-service --test it contract
    cp -r target/tmp/contract/. .

# Check every server of the running stack (`docker compose up -d --build --wait`).
check-stack *ARGS:
    scripts/check-stack {{ARGS}}

# Injure the programs, their broker, receiver, disk and clients, and check from outside that nothing is lost (docs/reliability.md).
faults *ARGS:
    cargo build --release -p monitoring-service -p faults
    target/release/faults {{ARGS}}

# Injure instances that share a PostgreSQL database and a consumer group, with a broker on this machine (docs/reliability.md).
ha-test *ARGS:
    cargo build --release -p monitoring-service -p faults
    scripts/with-postgres target/release/ha {{ARGS}}

# Find words that the glossary in CONTRIBUTING.md replaced.
check-language *ARGS:
    scripts/check-language {{ARGS}}

# Check the page in a real Chromium, or take its pictures for the docs (`--pictures`).
check-page *ARGS:
    cargo build --bin demo --bin monitoring-service
    scripts/check-page {{ARGS}}
