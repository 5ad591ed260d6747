# docker build -t callvault .
# What is built depends on Cargo.lock and on the tag below, and on nothing that is fetched besides.
FROM rust:1.95-bookworm AS build
WORKDIR /src
COPY . .
RUN cargo build --release --locked --bin callvault && strip --strip-debug target/release/callvault
RUN k8s/image target/release/callvault /image

FROM scratch
COPY --from=build /image /
USER 65532:65532
# HTTP, and metrics with health and readiness. Both are on loopback until CALLVAULT_LISTEN and CALLVAULT_METRICS_LISTEN say otherwise.
EXPOSE 8787 9187
ENV CALLVAULT_DATA_DIR=/var/lib/callvault
STOPSIGNAL SIGTERM
ENTRYPOINT ["/usr/local/bin/callvault"]
CMD ["serve"]
