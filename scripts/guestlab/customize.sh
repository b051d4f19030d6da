#!/bin/sh
# Runs on the host, as root, at the end of mmdebstrap: turns a minimal Debian or
# Ubuntu into the guest. $1 is the guest's root folder, $2 the folder with its
# files, $3 where the boot files and the data volume's content go.
set -eu
root=$1 files=$2 out=$3
in_guest() { chroot "$root" /usr/bin/env -i PATH=/usr/sbin:/usr/bin:/sbin:/bin LC_ALL=C.UTF-8 "$@"; }

# --- start-up: nothing that a guest of a few hours needs is left waiting
for unit in getty@tty1.service apt-daily.timer apt-daily-upgrade.timer e2scrub_all.timer \
    e2scrub_reap.service fstrim.timer dpkg-db-backup.timer systemd-pstore.service \
    systemd-update-utmp.service systemd-update-utmp-runlevel.service \
    systemd-random-seed.service systemd-networkd.service systemd-networkd-wait-online.service \
    systemd-resolved.service motd-news.timer systemd-journal-flush.service \
    systemd-sysusers.service systemd-tmpfiles-clean.timer systemd-user-sessions.service \
    kmod-static-nodes.service dev-hugepages.mount dev-mqueue.mount sys-kernel-debug.mount \
    sys-kernel-tracing.mount modprobe@.service systemd-ask-password-console.path \
    systemd-ask-password-wall.path proc-sys-fs-binfmt_misc.automount \
    cron.service nfs-server.service nfs-blkmap.service nfs-client.target rpcbind.service \
    rpcbind.socket rpc-statd-notify.service auth-rpcgss-module.service; do
    ln -sf /dev/null "$root/etc/systemd/system/$unit"
done
ln -sf /lib/systemd/system/multi-user.target "$root/etc/systemd/system/default.target"
# Drivers of devices that no guest of ours has, or for a speed that emulation does not give.
for module in aesni_intel ata_generic ata_piix crct10dif_pclmul floppy ghash_clmulni_intel \
    kvm kvm_amd kvm_intel pcspkr powernow_k8 serio_raw sha1_ssse3 sha256_ssse3 sha512_ssse3; do
    echo "blacklist $module"
done >"$root/etc/modprobe.d/dozo-guest.conf"
echo dozo-guest >"$root/etc/hostname"
printf '127.0.0.1 localhost dozo-guest\n' >"$root/etc/hosts"
in_guest systemd-machine-id-setup >/dev/null 2>&1
mkdir -p "$root/etc/systemd/journald.conf.d" "$root/srv/data" "$root/etc/qemu/fsfreeze-hook.d"
printf '[Journal]\nStorage=volatile\n' >"$root/etc/systemd/journald.conf.d/volatile.conf"
cat >"$root/etc/fstab" <<FSTAB
LABEL=dozo-root / ext4 rw,noatime 0 0
LABEL=dozo-data /srv/data ext4 rw,noatime,nofail,x-systemd.device-timeout=30s 0 0
FSTAB
# A shell on the serial console, for whoever wants to look around.
mkdir -p "$root/etc/systemd/system/serial-getty@ttyS0.service.d"
cat >"$root/etc/systemd/system/serial-getty@ttyS0.service.d/autologin.conf" <<UNIT
[Service]
ExecStart=
ExecStart=-/sbin/agetty --autologin root --keep-baud 115200 %I linux
UNIT

# --- agents
install -m 755 "$files/fsfreeze-hook" "$root/etc/qemu/fsfreeze-hook"
echo 'DAEMON_ARGS="--fsfreeze-hook=/etc/qemu/fsfreeze-hook"' >"$root/etc/default/qemu-guest-agent"
install -m 644 "$files/dozo-control.service" "$root/etc/systemd/system/"
install -m 644 "$files/70-dozo-control.rules" "$root/etc/udev/rules.d/"

# --- PostgreSQL, with its data folder on the data volume
version=$(ls "$root/usr/lib/postgresql")
mkdir -p "$root/etc/systemd/system/postgresql@$version-main.service.d"
printf '[Unit]\nRequiresMountsFor=/srv/data\nConditionPathIsMountPoint=/srv/data\n' \
    >"$root/etc/systemd/system/postgresql@$version-main.service.d/data.conf"
in_guest pg_createcluster "$version" main --datadir=/srv/data/postgresql --start-conf=auto \
    -- --data-checksums --no-sync >/dev/null
cat "$files/postgresql.conf" >>"$root/etc/postgresql/$version/main/postgresql.conf"
echo 'local all all trust' >"$root/etc/postgresql/$version/main/pg_hba.conf"
bin=/usr/lib/postgresql/$version/bin
for tool in pgbench pg_amcheck psql; do
    ln -sf "$bin/$tool" "$root/usr/local/bin/$tool"
done
postgres() { in_guest setpriv --reuid=postgres --regid=postgres --init-groups "$@"; }
install -d -o 0 -g 0 -m 1777 "$root/run/lock"
in_guest install -d -o postgres -g postgres -m 2775 /run/postgresql
postgres "$bin/pg_ctl" --silent --wait --log=/tmp/start.log --pgdata=/srv/data/postgresql \
    -o "-c config_file=/etc/postgresql/$version/main/postgresql.conf -c fsync=off" start || {
    cat "$root/tmp/start.log" >&2
    exit 1
}
postgres createdb shop
postgres psql --quiet shop -c 'create extension amcheck' \
    -c 'create table notes (id serial primary key, at timestamptz default now(), note text)'
postgres "$bin/pgbench" --quiet --initialize --scale="$PGBENCH_SCALE" shop 2>/dev/null
postgres psql --quiet shop -c checkpoint
postgres "$bin/pg_ctl" --silent --wait --pgdata=/srv/data/postgresql stop
rm -rf "$root/run/postgresql" "$root/tmp/start.log"

# --- boot files: the kernel, and an initrd that holds only what the disk needs
kernel=$(ls "$root/lib/modules")
initrd=$root/tmp/initrd
mkdir -p "$initrd/bin" "$initrd/dev" "$initrd/proc" "$initrd/sys" "$initrd/root" "$initrd/modules"
cp "$root/bin/busybox" "$initrd/bin/busybox"
install -m 755 "$files/initrd-init" "$initrd/init"
for name in virtio_pci virtio_blk virtio_scsi sd_mod ahci virtio_console ext4; do
    in_guest modprobe --show-depends --set-version "$kernel" "$name" 2>/dev/null || true
done | awk '$1 == "insmod" && !seen[$2]++ { print $2 }' | while read -r module; do
    cp "$root$module" "$initrd/modules/"
    basename "$module" >>"$initrd/modules/order"
done
in_guest sh -c 'cd /tmp/initrd && find . | busybox cpio -o -H newc 2>/dev/null' >"$out/initrd.img"
cp "$root/boot/vmlinuz-$kernel" "$out/vmlinuz"
rm -rf "$initrd" "$root"/boot/*

# --- what belongs to this host or to the build stays here
mv "$root/srv/data" "$out/data"
mkdir "$root/srv/data"
rm -f "$root/etc/resolv.conf" "$root/etc/apt/apt.conf.d/99mmdebstrap" \
    "$root/etc/dpkg/dpkg.cfg.d/99mmdebstrap"
: >"$root/etc/apt/sources.list"
