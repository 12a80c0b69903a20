# $1: a container's id. SIGKILL to the largest child of its first process, else to the first process itself. Says which it was.
child=$(awk -v parent="$first" '
  /^Name:/ { name = $2 } /^Pid:/ { pid = $2 } /^PPid:/ { ours = ($2 == parent) }
  /^VmRSS:/ && ours { print $2, pid, name }' /proc/[0-9]*/status 2>/dev/null | sort -rn | head -n 1)
if [ -n "$child" ]; then
  set -- $child
  kill -KILL "$2"
  echo "SIGKILL to process $3, a child of the container's first process"
else
  name=$(cat "/proc/$first/comm")
  kill -KILL "$first"
  echo "SIGKILL to process $name, the container's first process, which has no child"
fi
