# $1: a pod's address, $2: its port, $3: our mark. Drops what is forwarded to it, in the first rule of all.
case $1 in *:*) tool=ip6tables ;; *) tool=iptables ;; esac
$tool -w 5 -I FORWARD 1 -d "$1" -p tcp --dport "$2" -m comment --comment "$3" -j DROP
echo "what is forwarded to $1 port $2 is dropped by $tool"
