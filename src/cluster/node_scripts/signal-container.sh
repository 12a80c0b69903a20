# $1: a container's id, $2: a signal. From the node, since from inside its own namespace the kernel would ignore it.
kill -s "$2" "$first"
echo "SIG$2 to the first process of container $1"
