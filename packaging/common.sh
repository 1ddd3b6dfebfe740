# What run.sh and test.sh share: asking, Debian packages, Rust. Sourced, not run.
# shellcheck shell=bash disable=SC2034,SC1091 # used by those who source it; /etc/os-release is the machine's

RUST_WANTED=1.95
ASSUME_YES=${ASSUME_YES:-}

say() { printf '%s\n' "$*" >&2; }

fail() {
    say "$1"
    say "  why: $2"
    say "  now: $3"
    exit 1
}

if [ "$(id -u)" = 0 ]; then SUDO=; else SUDO=sudo; fi

# The kernel that the lab's guests boot.
guest_kernel_package() {
    local ID=debian
    [ -r /etc/os-release ] && . /etc/os-release
    if [ "$ID" = ubuntu ]; then echo linux-image-virtual; else echo linux-image-cloud-amd64; fi
}

BUILD_PACKAGES="build-essential ca-certificates curl libvirt-dev pkg-config"
WINDOW_PACKAGES="libegl1 libgl1 libgl1-mesa-dri libwayland-client0 libwayland-egl1 libx11-6 libx11-xcb1 libxcursor1 libxi6 libxkbcommon-x11-0 libxkbcommon0 libxrandr2"
LAB_PACKAGES="busybox-static e2fsprogs haproxy libvirt-clients libvirt-daemon-system qemu-guest-agent qemu-system-x86 qemu-utils util-linux $(guest_kernel_package)"
# A virtual display, and a Vulkan device in software for the window's image snapshots.
TEST_PACKAGES="mesa-vulkan-drivers openssh-client prometheus xauth xvfb"

# Root and --yes need no question; without a terminal nobody could answer one.
agreed() {
    if [ -n "$ASSUME_YES" ] || [ "$(id -u)" = 0 ]; then return 0; fi
    [ -t 0 ] || fail "$1 was not done." "It needs a yes, and there is no terminal to ask on." "Run it again with --yes."
    printf '%s? [y/N] ' "$1" >&2
    local answer
    read -r answer
    case $answer in
        [yY]*) ;;
        *) fail "$1 was not done." "You did not agree." "Install it by hand, then run this again." ;;
    esac
}

# install_packages NAME…: brings in by apt what is not there.
install_packages() {
    local missing=() package
    command -v dpkg-query >/dev/null ||
        fail "Packages were not installed." "This is no Debian or Ubuntu (no dpkg-query)." "Install the like of: $*"
    for package in "$@"; do
        [ "$(dpkg-query -W -f '${db:Status-Status}' "$package" 2>/dev/null)" = installed ] || missing+=("$package")
    done
    [ ${#missing[@]} -gt 0 ] || return 0
    agreed "Install by apt: ${missing[*]}"
    $SUDO apt-get update -q >&2
    $SUDO env DEBIAN_FRONTEND=noninteractive apt-get install -q -y --no-install-recommends "${missing[@]}" >&2 ||
        fail "Packages were not installed: ${missing[*]}" "apt-get said so above." "Mend apt's sources, then run this again."
}

has_rust() {
    command -v cargo >/dev/null && command -v rustc >/dev/null || return 1
    local have
    have=$(rustc --version | cut -d' ' -f2)
    [ "$(printf '%s\n' "$RUST_WANTED" "$have" | sort -V | head -n 1)" = "$RUST_WANTED" ]
}

# install_rust: by rustup, where rustc is missing or older than the crate asks for.
install_rust() {
    PATH="$PATH:${CARGO_HOME:-$HOME/.cargo}/bin"
    has_rust && return 0
    agreed "Install Rust (stable, at least $RUST_WANTED) by rustup"
    if command -v rustup >/dev/null; then
        rustup toolchain install stable --profile minimal --component clippy --component rustfmt >&2
        export RUSTUP_TOOLCHAIN=stable
    else
        curl --proto '=https' --tlsv1.2 -sSf https://sh.rustup.rs |
            sh -s -- -y --no-modify-path --profile minimal --component clippy --component rustfmt >&2
        PATH="${CARGO_HOME:-$HOME/.cargo}/bin:$PATH"
    fi
    has_rust || fail "Rust was not installed." "rustc $RUST_WANTED or newer is not there after rustup." "See https://rustup.rs and run this again."
}
