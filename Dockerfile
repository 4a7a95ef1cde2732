# syntax=docker/dockerfile:1
# One image per program: `docker build --target monitoring-service .` and `--target stream-processor`.
# TLS and SASL for Kafka are compiled in. An image holds one program and the C runtime: no shell, no package manager, no root user.

ARG RUST_VERSION=1.95

# The manifests with empty programs: everything that the build of the dependencies reads.
FROM rust:${RUST_VERSION}-slim-bookworm AS skeleton
WORKDIR /src
COPY Cargo.toml Cargo.lock ./
COPY crates crates
RUN find . \( -name 'Cargo.*' -o -path '*/src/lib.rs' -o -path '*/src/main.rs' -o -path '*/src/bin/*.rs' -o -path '*/benches/*.rs' \) \
        -exec install -D {} /skeleton/{} \; \
    && find /skeleton -name '*.rs' -exec sh -c 'for file; do echo "fn main() { }" >"$file"; done' sh {} +

FROM rust:${RUST_VERSION}-slim-bookworm AS build
RUN apt-get update -q \
    && apt-get install -qy --no-install-recommends g++ libssl-dev make pkg-config \
    && rm -rf /var/lib/apt/lists/*
WORKDIR /src
ENV CARGO_TERM_COLOR=never \
    # Link zlib statically: the runtime image has none.
    LIBZ_SYS_STATIC=1 \
    # As in .cargo/config.toml, which the image does not have.
    CFLAGS=-g0
# The layer of the dependencies: built again only when a manifest or the lock file changes.
COPY --from=skeleton /skeleton .
RUN --mount=type=cache,target=/usr/local/cargo/registry \
    cargo build --release --locked -p monitoring-service -p stream-processor \
        --features monitoring-service/kafka-tls,stream-processor/kafka-tls
COPY crates crates
# Cargo compares modification times, and the sources are older than the empty programs.
RUN --mount=type=cache,target=/usr/local/cargo/registry \
    find crates -name '*.rs' -exec touch {} + \
    && cargo build --release --locked -p monitoring-service -p stream-processor \
        --features monitoring-service/kafka-tls,stream-processor/kafka-tls \
    && mkdir -p /out/data \
    && cp target/release/monitoring-service target/release/stream-processor /out/

FROM gcr.io/distroless/cc-debian12:nonroot AS runtime
ARG VERSION=0.1.0
ARG REVISION=unknown
LABEL org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.revision="${REVISION}" \
      org.opencontainers.image.licenses="MIT OR Apache-2.0" \
      org.opencontainers.image.vendor="Transaction Monitoring System"
STOPSIGNAL SIGTERM

FROM runtime AS stream-processor
LABEL org.opencontainers.image.title="stream-processor" \
      org.opencontainers.image.description="Replays CSV files of transaction counts per minute into Kafka"
COPY --from=build /out/stream-processor /usr/local/bin/stream-processor
ENV METRICS_ADDR=0.0.0.0:9101
EXPOSE 9101
HEALTHCHECK --interval=10s --timeout=5s --retries=3 CMD ["/usr/local/bin/stream-processor", "healthcheck"]
ENTRYPOINT ["/usr/local/bin/stream-processor"]

# Last, so that a build without --target makes it.
FROM runtime AS monitoring-service
LABEL org.opencontainers.image.title="monitoring-service" \
      org.opencontainers.image.description="Consumes transaction counts from Kafka, evaluates them, alerts, and serves the HTTP API"
COPY --from=build /out/monitoring-service /usr/local/bin/monitoring-service
# The only folder it writes to.
COPY --from=build --chown=65532:65532 /out/data /data
ENV HTTP_ADDR=0.0.0.0:8000
# The database is /data/monitoring.db, unless DATABASE_PATH or DATABASE_URL says otherwise.
WORKDIR /data
VOLUME /data
EXPOSE 8000
HEALTHCHECK --interval=10s --timeout=5s --retries=3 CMD ["/usr/local/bin/monitoring-service", "healthcheck"]
ENTRYPOINT ["/usr/local/bin/monitoring-service"]
