# The host with its handlers, as a small image that runs without root.
#
#   docker build --tag jobcell .
#   docker run --rm --volume ./jobcell.toml:/etc/jobcell/jobcell.toml:ro jobcell

FROM rust:1.95-slim-bookworm AS build
RUN rustup target add wasm32-wasip2
WORKDIR /src
COPY . .
# The caches keep a rebuild to what changed; what leaves them is copied out in the same step.
RUN --mount=type=cache,target=/usr/local/cargo/registry \
    --mount=type=cache,target=/src/target \
    cargo build --locked --release --package jobcell --bin jobcell \
 && cargo build --locked --profile guest --target wasm32-wasip2 \
        --package jobcell-plugin-media --package jobcell-plugin-payment --package jobcell-plugin-notification \
 && mkdir -p /out/handlers \
 && cp target/release/jobcell /out/ \
 && cp target/wasm32-wasip2/guest/media.wasm target/wasm32-wasip2/guest/payment.wasm \
       target/wasm32-wasip2/guest/notification.wasm /out/handlers/

FROM debian:bookworm-slim
# Roots for the handlers' outgoing https.
RUN apt-get update \
 && apt-get install --yes --no-install-recommends ca-certificates \
 && rm -rf /var/lib/apt/lists/* \
 && groupadd --gid 10001 jobcell \
 && useradd --uid 10001 --gid 10001 --no-create-home --home-dir /var/lib/jobcell --shell /usr/sbin/nologin jobcell \
 && install --directory --owner=jobcell --group=jobcell --mode=0750 /var/lib/jobcell /var/lib/jobcell/uploads /var/cache/jobcell
COPY --from=build /out/jobcell /usr/local/bin/jobcell
COPY --from=build /out/handlers /usr/share/jobcell/handlers
USER 10001:10001
WORKDIR /var/lib/jobcell
# Compiled handlers are kept here; the embedded store, where no Redis is configured, in the working directory.
ENV XDG_CACHE_HOME=/var/cache/jobcell
VOLUME ["/var/lib/jobcell", "/var/cache/jobcell"]
EXPOSE 8787
# Longer than `shutdown.grace`: the host gives unfinished jobs back before it is killed.
STOPSIGNAL SIGTERM
# The image has no HTTP client; bash speaks enough of it. A config with another `server.listen` needs its own check.
HEALTHCHECK --interval=10s --timeout=3s --start-period=30s --retries=3 CMD ["bash", "-c", \
    "exec 3<>/dev/tcp/127.0.0.1/8787 && printf 'GET /readyz HTTP/1.0\\r\\n\\r\\n' >&3 && head -n 1 <&3 | grep -q ' 200 '"]
ENTRYPOINT ["jobcell"]
CMD ["--config", "/etc/jobcell/jobcell.toml", "run"]
