# How to build, run and bake a model in: docs/CONTAINER.md
#
# Both bases are arguments, so that a network without these registries can name
# its own. The runtime base needs glibc, libgcc_s and CA certificates, no shell.
ARG RUST_IMAGE=docker.io/library/rust:1.95-bookworm
ARG RUNTIME_IMAGE=gcr.io/distroless/cc-debian12:nonroot

FROM ${RUST_IMAGE} AS build
WORKDIR /build

# The dependencies alone, in a layer that only the manifests and Cargo.lock
# renew. Empty sources stand in for ours, and targets whose files are not here
# are taken out of the manifests; of the tools nothing else ever comes. The
# optional secret is a Cargo configuration, for instance one that names a mirror.
COPY Cargo.toml Cargo.lock ./
COPY kernels/Cargo.toml kernels/
COPY benches/load/Cargo.toml benches/load/
COPY fuzz/Cargo.toml fuzz/
RUN --mount=type=secret,id=cargo-config,target=/usr/local/cargo/config.toml \
    for package in . kernels benches/load fuzz; do \
        awk '/^\[/ { absent = /^\[\[(bench|bin|example|test)\]\]/ } !absent' "${package}/Cargo.toml" > trimmed.toml \
        && mv trimmed.toml "${package}/Cargo.toml" \
        && mkdir "${package}/src" \
        && touch "${package}/src/lib.rs" \
        || exit 1; \
    done \
    && echo 'fn main() {}' > src/main.rs \
    && cp src/main.rs build.rs \
    && cargo build --release --locked --features otel \
    && cargo clean --release --package resnet --package resnet-kernels \
    && rm -r src kernels build.rs

COPY build.rs ./
COPY kernels kernels
COPY models models
COPY src src
# The context has no .git, so build.rs takes the commit from here.
ARG REVISION=""
RUN --mount=type=secret,id=cargo-config,target=/usr/local/cargo/config.toml \
    RESNET_COMMIT="$(printf %.12s "${REVISION}")" cargo build --release --locked --features otel --bin resnet

# Fills /models when MODEL is given, in the form of RESNET_MODEL: a path in the
# build context is copied as it is, any other name is pulled. MODEL_FROM is a URL
# or a path in the build context from which to pull instead of from the
# catalogue's address; RESNET_MIRROR is read by `resnet pull` itself.
FROM build AS models
ARG MODEL=""
ARG MODEL_FROM=""
ARG RESNET_MIRROR
WORKDIR /context
COPY . .
RUN mkdir /models \
    && IFS=, \
    && for model in ${MODEL}; do \
        path="${model#*=}"; \
        if [ -e "${path}" ]; then \
            cp --recursive --parents "${path}" /models; \
        else \
            /build/target/release/resnet pull "${model}" --models-dir /models \
                ${MODEL_FROM:+--from "${MODEL_FROM}"}; \
        fi || exit 1; \
    done \
    && chmod -R a+rX /models

FROM ${RUNTIME_IMAGE}
COPY --from=build /build/target/release/resnet /usr/local/bin/resnet
COPY --from=models /models /models
COPY LICENSE LICENSE-APACHE LICENSE-MIT models/NOTICE /usr/share/doc/resnet/

# The directory in which a MODEL that is a path finds its file.
WORKDIR /models
ARG MODEL=""
# The delay keeps answering while Kubernetes takes the address out of its lists.
ENV RESNET_HOST=:: \
    RESNET_PORT=8080 \
    RESNET_GRPC_PORT=9000 \
    RESNET_MODELS_DIR=/models \
    RESNET_MODEL=${MODEL} \
    RESNET_SHUTDOWN_DELAY=5
EXPOSE 8080 9000
STOPSIGNAL SIGTERM
# A number, because runAsNonRoot cannot judge a name.
USER 65532:65532
HEALTHCHECK --interval=10s --timeout=3s --start-period=15s --retries=3 \
    CMD ["/usr/local/bin/resnet", "healthcheck"]
ENTRYPOINT ["/usr/local/bin/resnet"]
CMD ["serve"]

ARG CREATED=""
ARG REVISION=""
ARG SOURCE=""
ARG VERSION=""
LABEL org.opencontainers.image.title="resnet" \
      org.opencontainers.image.description="Serves pretrained ResNets on CPUs: POST a photo, get ImageNet classes" \
      org.opencontainers.image.source="${SOURCE}" \
      org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.revision="${REVISION}" \
      org.opencontainers.image.licenses="MIT OR Apache-2.0" \
      org.opencontainers.image.created="${CREATED}"
