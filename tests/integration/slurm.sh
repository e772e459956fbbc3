#!/usr/bin/env bash

# A Slurm of one node, this machine, for the tests; nothing of the system's own is changed.
#   slurm.sh start DIR   its files go to DIR; prints the path of its slurm.conf
#   slurm.sh stop DIR
# Debian's slurm-wlm and munge must be installed; needs root.

set -e
set -u
set -o pipefail

dir=$(realpath -m "$2")
export SLURM_CONF="${dir}/slurm.conf"

case "$1" in
start)
    mkdir -p "${dir}"/{state,spool} /run/munge
    chown munge: /run/munge
    pgrep -x munged > /dev/null || runuser -u munge -- munged
    host=$(hostname -s)
    cat > "${SLURM_CONF}" << CONF
ClusterName=test
SlurmctldHost=${host}
SlurmUser=root
AuthType=auth/munge
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core
MpiDefault=none
ReturnToService=2
SlurmctldPort=26817
SlurmdPort=26818
StateSaveLocation=${dir}/state
SlurmdSpoolDir=${dir}/spool
SlurmctldPidFile=${dir}/slurmctld.pid
SlurmdPidFile=${dir}/slurmd.pid
SlurmctldLogFile=${dir}/slurmctld.log
SlurmdLogFile=${dir}/slurmd.log
NodeName=${host} NodeAddr=127.0.0.1 CPUs=$(nproc) State=UNKNOWN
PartitionName=cpu Nodes=${host} Default=YES MaxTime=INFINITE State=UP
PartitionName=gpu Nodes=${host} MaxTime=INFINITE State=UP
CONF
    slurmctld
    slurmd
    for _ in $(seq 60); do
        if sinfo --noheader --partition cpu --format %T 2> /dev/null | grep -q idle; then
            echo "${SLURM_CONF}"
            exit 0
        fi
        sleep 0.5
    done
    echo "$0: Slurm did not start, see ${dir}/*.log" 1>&2
    tail -n 5 "${dir}"/*.log 1>&2
    exit 1
    ;;
stop)
    for daemon in slurmd slurmctld; do
        [ -e "${dir}/${daemon}.pid" ] && kill "$(cat "${dir}/${daemon}.pid")" || true
    done
    ;;
*)
    echo "Usage: $0 start|stop DIR" 1>&2
    exit 2
    ;;
esac
