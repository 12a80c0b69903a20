# $1: our mark. Removes the rules that carry it, and no other.
removed=0
for tool in iptables ip6tables; do
  command -v $tool > /dev/null || continue
  [ $tool = iptables ] || [ -e /proc/net/if_inet6 ] || continue
  while :; do
    # Rules that cannot be listed are not gone.
    rules=$($tool -w 30 -L FORWARD --line-numbers -n) || exit 1
    rule=$(printf '%s\n' "$rules" | awk -v mark="/* $1 */" 'index($0, mark) { print $1; exit }')
    [ -n "$rule" ] || break
    $tool -w 30 -D FORWARD "$rule"
    removed=$((removed + 1))
  done
done
echo "$removed rules were removed"
