# The other scripts source this: the path of the project, and the installation of system packages.
# shellcheck shell=bash
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)

say() { printf '%s\n' "$*" >&2; }

# Succeeds if apt-get can install packages without a password.
may_install() {
    command -v apt-get >/dev/null || return 1
    [ "$(id -u)" = 0 ] || sudo -n true 2>/dev/null
}

as_root() { if [ "$(id -u)" = 0 ]; then "$@"; else sudo -n "$@"; fi; }

apt_quietly() {
    as_root env DEBIAN_FRONTEND=noninteractive apt-get -qq -o DPkg::Lock::Timeout=120 "$@" </dev/null >"$apt_log" 2>&1
}

# apt_install PACKAGE...; fetches the package lists only if installing with the present ones fails.
apt_install() {
    local apt_log
    apt_log=$(mktemp)
    say "installing with apt-get: $*"
    if apt_quietly install -y --no-install-recommends "$@" ||
        { apt_quietly update && apt_quietly install -y --no-install-recommends "$@"; }; then
        rm -f "$apt_log"
    else
        tail -n 5 "$apt_log" >&2
        rm -f "$apt_log"
        return 1
    fi
}
