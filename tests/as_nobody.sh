#!/bin/sh
# as_nobody.sh MODE WORK OPEN… -- COMMAND…: run COMMAND as an unprivileged user without any capability.
#
# To be started by `unshare --mount`: in that mount namespace, and nowhere else, /dev/net/tun has the mode MODE, the
# directory WORK is the user's own, at /mnt/work, and each directory OPEN can be reached where it is, though directories
# above it may be closed to others.
set -eu
mode=$1 work=$2
shift 2
# A container's runtime masks parts of /proc, and a user namespace may then not mount its own: as on a machine.
[ -w /proc/sys/net/ipv4/ip_forward ] || mount -t proc none /proc
mount -t tmpfs -o mode=0755 none /mnt
mknod -m "$mode" /mnt/tun c 10 200
mount --bind /mnt/tun /dev/net/tun
mkdir /mnt/work /mnt/kept
mount --rbind "$work" /mnt/work
chown 65534:65534 /mnt/work
kept=
number=0
while [ "$1" != -- ]; do
    number=$((number + 1))
    mkdir "/mnt/kept/$number"
    mount --bind "$1" "/mnt/kept/$number"
    kept="$kept $number:$1"
    shift
done
shift
for each in $kept; do
    path=${each#*:}
    above=$path
    while [ "$above" != / ]; do
        above=$(dirname "$above")
        case $(stat -c %a "$above") in
            *[1357]) ;;                                       # others may enter it
            *) mount -t tmpfs -o mode=0755 none "$above" ;;
        esac
    done
    if [ ! -d "$path" ] || [ -z "$(ls -A "$path")" ]; then    # it was hidden by what was mounted above it
        mkdir -p "$path"
        mount --bind "/mnt/kept/${each%%:*}" "$path"
    fi
done
cd /mnt/work
export HOME=/mnt/work TMPDIR=/mnt/work PYTEST_DEBUG_TEMPROOT=/mnt/work PYTHONDONTWRITEBYTECODE=1
exec setpriv --reuid=65534 --regid=65534 --clear-groups --inh-caps=-all --bounding-set=-all "$@"
