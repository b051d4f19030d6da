#!/bin/sh
# Runs a command in a mount namespace of its own that has everything of /dev but
# kvm. The host's /dev stays as it is. (A file mounted over /dev/kvm would be
# simpler, but libvirt, making its guests' own /dev, trips over it.)
set -eu
if [ "${1-}" != --inside ]; then
    exec unshare --mount --propagation slave sh "$0" --inside "$@"
fi
shift
new=$(mktemp -d /run/dozo-dev.XXXXXX)
mount -t tmpfs -o mode=755 dozo-dev "$new"
for path in /dev/*; do
    name=${path#/dev/}
    if [ "$name" = kvm ] || [ -S "$path" ]; then
        continue
    elif mountpoint -q "$path"; then
        if [ -d "$path" ]; then mkdir "$new/$name"; else : >"$new/$name"; fi
        mount --rbind "$path" "$new/$name"
    else
        cp -a "$path" "$new/"
    fi
done
# Mounts hidden below the new /dev would still be listed, and libvirt would trip over those.
umount --recursive --lazy /dev
mount --move "$new" /dev
rmdir "$new"
exec "$@"
