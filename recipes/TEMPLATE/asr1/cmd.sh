#!/usr/bin/env bash

# Which engine runs the jobs: "local" here. In an ESPnet checkout its own cmd.sh also knows slurm,
# sge, pbs and ssh (slurm.pl, queue.pl, ...); their scripts take the place of run.pl as they are.
cmd_backend='local'

if [ "${cmd_backend}" = local ]; then
    # Data preparation and statistics
    export train_cmd="run.pl"
    # Training; "--gpu" is appended by asr.sh
    export cuda_cmd="run.pl"
    # Decoding and scoring of the pool
    export decode_cmd="run.pl"
else
    echo "$0: Error: Unknown cmd_backend=${cmd_backend}" 1>&2
    return 1
fi
