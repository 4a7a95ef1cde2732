# syntax=docker/dockerfile:1
# Both programs, each an image of its own: `docker build --target monitoring-service .` and `--target stream-processor`.
# Kafka over TLS and SASL is compiled in. The images hold one program and the C runtime: no shell, no package manager, no root.

ARG RUST_VERSION=1.95

# What the dependencies follow from: manifests, with empty programs behind them.
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
    # zlib within the program: the runtime image has none.
    LIBZ_SYS_STATIC=1
# The layer of the dependencies: made again only when a manifest or the lock file changes.
COPY --from=skeleton /skeleton .
RUN --mount=type=cache,target=/usr/local/cargo/registry \
    cargo build --release --locked -p monitoring-service -p stream-processor \
        --features monitoring-service/kafka-tls,stream-processor/kafka-tls
COPY crates crates
# Cargo goes by times of change, and those of the sources are older than those of the empty programs.
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
      org.opencontainers.image.description="Replays CSV minutes of transaction counts into Kafka"
COPY --from=build /out/stream-processor /usr/local/bin/stream-processor
ENV METRICS_ADDR=0.0.0.0:9101
EXPOSE 9101
HEALTHCHECK --interval=10s --timeout=5s --retries=3 CMD ["/usr/local/bin/stream-processor", "healthcheck"]
ENTRYPOINT ["/usr/local/bin/stream-processor"]

# The last one is what a build without --target makes.
FROM runtime AS monitoring-service
LABEL org.opencontainers.image.title="monitoring-service" \
      org.opencontainers.image.description="Consumes transaction minutes from Kafka, judges them, alerts, and serves the HTTP API"
COPY --from=build /out/monitoring-service /usr/local/bin/monitoring-service
# The one folder it writes to.
COPY --from=build --chown=65532:65532 /out/data /data
ENV HTTP_ADDR=0.0.0.0:8000 \
    DATABASE_PATH=/data/monitoring.db
VOLUME /data
EXPOSE 8000
HEALTHCHECK --interval=10s --timeout=5s --retries=3 CMD ["/usr/local/bin/monitoring-service", "healthcheck"]
ENTRYPOINT ["/usr/local/bin/monitoring-service"]
