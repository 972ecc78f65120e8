#!/bin/sh
# as_nobody.sh MODE WORK OPEN… -- COMMAND…: run COMMAND as an unprivileged user without any capability.
#
# `unshare --mount` must start this script, so that the machine does not change. In the new mount namespace /dev/net/tun
# has the mode MODE, the user owns the directory WORK at /mnt/work, and can reach each directory OPEN even if a directory
# above it is closed to other users.
set -eu
mode=$1 work=$2
shift 2
# In a container, parts of /proc are masked, and then a user namespace may not mount its own /proc. This mounts all of it.
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
            *[1357]) ;;                                       # Other users may enter this directory.
            *) mount -t tmpfs -o mode=0755 none "$above" ;;
        esac
    done
    if [ ! -d "$path" ] || [ -z "$(ls -A "$path")" ]; then    # A mount above hides this directory.
        mkdir -p "$path"
        mount --bind "/mnt/kept/${each%%:*}" "$path"
    fi
done
cd /mnt/work
export HOME=/mnt/work TMPDIR=/mnt/work PYTEST_DEBUG_TEMPROOT=/mnt/work PYTHONDONTWRITEBYTECODE=1
exec setpriv --reuid=65534 --regid=65534 --clear-groups --inh-caps=-all --bounding-set=-all "$@"
