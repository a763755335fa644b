#!/bin/sh
# Builds the image where no container registry can be reached.
#
# Makes local stand-ins for the two base images that the Dockerfile names, from
# this host's own Debian packages and Rust toolchain, vendors the crates with
# this host's cargo, and builds the unchanged Dockerfile with buildah, which
# needs neither a daemon nor user namespaces.
#
#   docker/build-offline.sh [buildah build option...]
#   IMAGE=resnet:mine docker/build-offline.sh --build-arg MODEL=my-model.onnx
#
# Needs root on Debian 12, its packages buildah and debootstrap, and a Rust
# toolchain installed by rustup. The host's package mirror and cargo
# configuration are used as they are; the build itself reaches for nothing,
# unless MODEL names something to pull.
#
# Environment:
#   CONTEXT         what to build, default: this repository
#   IMAGE           the name of the result, default: resnet
#   WORK            where stand-ins, crates and images are kept for the next
#                   call, default: /var/tmp/resnet-offline
#   STORAGE_DRIVER  default: overlay; vfs works on any kernel and file system,
#                   but copies the whole root at each step: minutes and gigabytes
#
# docs/CONTAINER.md shows how to run the result.
set -eu

context=${CONTEXT:-$(cd "$(dirname "$0")/.." && pwd)}
work=${WORK:-/var/tmp/resnet-offline}

# The values under which the Dockerfile looks for its bases.
default_of() { sed -n "s/^ARG $1=//p" "$context/Dockerfile"; }
rust_image=$(default_of RUST_IMAGE)
runtime_image=$(default_of RUNTIME_IMAGE)

mkdir -p "$work"
cd "$work"

images() {
    buildah --root "$work/images" --runroot "$work/run" \
        --storage-driver "${STORAGE_DRIVER:-overlay}" "$@"
}

exists() { images inspect --type image "$1" > /dev/null 2>&1; }

# commit NAME ROOTFS [buildah config option...]
commit() {
    name=$1 rootfs=$2
    shift 2
    container=$(images from scratch)
    images copy --quiet "$container" "$rootfs" / > /dev/null
    images config "$@" "$container"
    images commit --quiet --rm "$container" "$name" > /dev/null
    rm -r "$rootfs"
}

# The mirror and release that apt on this host uses.
# shellcheck disable=SC2016 # apt-get expands these itself
mirror=$(apt-get indextargets --format '$(SITE) $(COMPONENT)' 'Created-By: Packages' 'Origin: Debian' \
    | sed -n 's/ main$//p' | head -n 1)
# shellcheck source=/dev/null
. /etc/os-release

if ! exists "$rust_image"; then
    echo "making a stand-in for $rust_image" >&2
    rm -rf build-root
    debootstrap --variant=minbase --include=gcc,libc6-dev,ca-certificates \
        "$VERSION_CODENAME" build-root "$mirror" > debootstrap.log
    # A host may trust more authorities than Debian does.
    cp /etc/ssl/certs/ca-certificates.crt build-root/etc/ssl/certs/
    mkdir -p build-root/usr/local/cargo
    sysroot=$(rustc --print sysroot)
    tar -C "$sysroot" --create --exclude=./share --exclude=./lib/rustlib/src . \
        | tar -C build-root/usr/local --extract --no-same-owner
    commit "$rust_image" build-root --env CARGO_HOME=/usr/local/cargo \
        --env PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin
fi

if ! exists "$runtime_image"; then
    echo "making a stand-in for $runtime_image" >&2
    rm -rf runtime-root debs
    mkdir runtime-root debs
    # The packages of distroless/cc, unpacked but not configured, as there.
    (cd debs && apt-get download base-files ca-certificates libc6 libgcc-s1 libgomp1 \
        libssl3 libstdc++6 netbase tzdata > /dev/null)
    for deb in debs/*.deb; do dpkg-deb --extract "$deb" runtime-root; done
    rm -r debs runtime-root/usr/share/man runtime-root/usr/share/lintian
    cat runtime-root/usr/share/ca-certificates/mozilla/*.crt \
        > runtime-root/etc/ssl/certs/ca-certificates.crt
    mkdir -p runtime-root/home/nonroot
    chown 65532:65532 runtime-root/home/nonroot
    printf '%s\n' root:x:0:0:root:/root:/sbin/nologin \
        nonroot:x:65532:65532:nonroot:/home/nonroot:/sbin/nologin > runtime-root/etc/passwd
    printf '%s\n' root:x:0: nonroot:x:65532: > runtime-root/etc/group
    commit "$runtime_image" runtime-root --user 65532 --workingdir /home/nonroot \
        --env PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin \
        --env SSL_CERT_FILE=/etc/ssl/certs/ca-certificates.crt
fi

echo "vendoring the crates" >&2
cargo vendor --locked --manifest-path "$context/Cargo.toml" vendor \
    > cargo-config.toml 2> vendor.log || { cat vendor.log >&2; exit 1; }
sed -i 's|^directory = .*|directory = "/vendor"|' cargo-config.toml

images build --isolation chroot --pull-never --format docker --layers \
    --volume "$work/vendor:/vendor:ro" \
    --secret "id=cargo-config,src=$work/cargo-config.toml" \
    --build-arg "CREATED=$(date --utc +%Y-%m-%dT%H:%M:%SZ)" \
    --build-arg "REVISION=$(git -C "$context" rev-parse HEAD 2> /dev/null || true)" \
    --build-arg "VERSION=$(sed -n 's/^version = "\(.*\)"/\1/p' "$context/Cargo.toml" | head -n 1)" \
    --tag "${IMAGE:-resnet}" "$@" "$context"
