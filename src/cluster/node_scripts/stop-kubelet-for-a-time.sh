# $1: seconds until the kubelet stops, $2: seconds until it starts again, $3: our unit. A pod that stops its own kubelet can neither be seen to end nor
# start it again, so the node's systemd does both: it starts the kubelet however the unit ends, be it killed.
systemctl is-active --quiet kubelet || { echo "the node's systemd has no unit called kubelet that runs" >&2; exit 1; }
systemctl=$(command -v systemctl)
systemd-run --quiet --collect --unit="$3" --property=RuntimeMaxSec=$(($1 + $2 + 30)) --property=ExecStopPost="$systemctl start kubelet" \
  sh -c "sleep $1 && $systemctl stop kubelet && sleep $2"
echo "in $1 s the node stops its kubelet, and starts it again $2 s later whatever becomes of the harness (unit $3)"
