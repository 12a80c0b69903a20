# $1: a container's id. Sets `first` to the container's first process, which is found by its cgroup, whatever runtime started it.
first=
for group in $(grep -l -F -e "$1" /proc/[0-9]*/cgroup 2>/dev/null); do
  process=${group#/proc/} process=${process%/cgroup}
  # The last of a process's ids is the one in its own namespace.
  if awk '/^NSpid:/ { own = $NF } END { exit own != 1 }' "/proc/$process/status" 2>/dev/null; then first=$process; fi
done
[ -n "$first" ] || { echo "the container does not run any more, or its processes are in a namespace of others" >&2; exit 1; }
