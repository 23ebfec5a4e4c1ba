# Sourced by the other scripts: one line for each step that works, everything it said when it fails.

# step "What is done" command…: runs the command without input; ends the script when it fails.
step() {
    local title=$1 log status=0 began=$SECONDS
    shift
    log=$(mktemp)
    "$@" >"$log" 2>&1 </dev/null || status=$?
    if [ "$status" -ne 0 ]; then
        cat "$log" >&2
        rm -f "$log"
        printf '✗ %s: failed (exit %s); what it said is above\n' "$title" "$status" >&2
        exit 1
    fi
    rm -f "$log"
    printf '✓ %s (%s s)\n' "$title" "$((SECONDS - began))"
}

# As root on Debian, Ubuntu and their kin packages can be installed; elsewhere they can only be named.
can_apt() {
    [ "$(id -u)" -eq 0 ] && command -v apt-get >/dev/null 2>&1
}

# apt_install PACKAGE…: no questions, no services started, package lists fetched only when they are missing or too old.
apt_install() (
    export DEBIAN_FRONTEND=noninteractive
    policy=/usr/sbin/policy-rc.d
    if [ ! -e "$policy" ]; then
        trap 'rm -f "$policy"' EXIT
        printf '#!/bin/sh\nexit 101\n' >"$policy"
        chmod 755 "$policy"
    fi
    apt-get install -y --no-install-recommends "$@" || {
        apt-get update && apt-get install -y --no-install-recommends "$@"
    }
)
