#!/bin/sh
# Runs before the packages are installed; $1 is the guest's root folder. PostgreSQL
# must not make its cluster on the root volume: customize.sh makes it on the data volume.
set -eu
mkdir -p "$1/etc/postgresql-common"
echo 'create_main_cluster = false' >"$1/etc/postgresql-common/createcluster.conf"
