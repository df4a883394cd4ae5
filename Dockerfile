FROM rust:1.95-slim-bookworm AS build
RUN apt-get update && apt-get install -y --no-install-recommends build-essential cmake && rm -rf /var/lib/apt/lists/*
WORKDIR /src
COPY . .
RUN cargo build --release --locked --bin textledger

FROM debian:bookworm-slim
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
