# Images are named by tag for people and by digest for the machine: the same bytes today and next year.
# `docker buildx imagetools inspect IMAGE:TAG` prints the digest of a newer one.
FROM rust:1.95.0-slim-bookworm@sha256:d7482085ff5b415f84dba5647ae71606650bdef00db7aeb69f4b3d170c3e4082 AS build
RUN apt-get update && apt-get install -y --no-install-recommends build-essential cmake && rm -rf /var/lib/apt/lists/*
# Writes the list of all packages into the binary, where `cargo audit bin`, Syft, Trivy and others read it.
RUN cargo install cargo-auditable --version 0.7.7 --locked
WORKDIR /src
COPY . .
RUN cargo auditable build --release --locked --bin textledger

FROM debian:bookworm-20260824-slim@sha256:88200866dfff7ea7f5cbcb6ec7c8a701889efe6fe859fe64d6990e4b07ea4171
RUN apt-get update && apt-get install -y --no-install-recommends ca-certificates curl && rm -rf /var/lib/apt/lists/* \
    && useradd --system --uid 10001 --home-dir /data --create-home textledger
COPY --from=build /src/target/release/textledger /usr/local/bin/textledger
USER textledger
WORKDIR /data
VOLUME /data
ENV TEXTLEDGER_LISTEN=0.0.0.0:8080 TEXTLEDGER_STORE=embedded:/data
EXPOSE 8080
HEALTHCHECK --interval=10s --timeout=3s CMD curl -fsS http://127.0.0.1:8080/healthz || exit 1
ENTRYPOINT ["textledger"]
CMD ["serve"]
