"""keepalived for a cluster: a script that installs its configuration and the check behind it on one node.

A controller that is gone takes no address from anybody: without an answer the check says what it said last.
Source: keepalived.conf(5), `vrrp_script` and `track_file`.
"""

from typing import Final

from pgvigil.model.spec import ClusterSpec

SCRIPT: Final = r"""#!/bin/sh
# Installs keepalived's check and configuration for {cluster} on the node where it is run, as root.
# Written by: pgvigil render keepalived {cluster}
#
#   pgvigil render keepalived {cluster} | ssh root@HOST sh -s NODE ADDRESS/BITS INTERFACE
#
# NODE: {nodes}. keepalived decides by itself who holds the address and fences nobody:
# in a split network two hosts may hold it.
set -eu
node=${{1:?NODE is missing}} address=${{2:?ADDRESS/BITS is missing}} interface=${{3:?INTERFACE is missing}}
etc=${{ETC:-/etc/keepalived}} run=${{RUN:-/run/pgvigil}}
case $node in {cases}) ;; *) echo "no node of {cluster}: $node" >&2; exit 2 ;; esac
mkdir -p "$etc" "$run"

cat > "$etc/pgvigil-check" <<'END'
#!/bin/sh
# Exit code 0: this node is the primary. Without an answer: as before.
#   pgvigil-check NODE STATE            once, for vrrp_script
#   pgvigil-check NODE STATE FILE       five times a second, into FILE, for track_file
url={url}
ask() {{
    code=$(curl -s -o /dev/null -w '%{{http_code}}' {options}--max-time 1 "$url/nodes/$1/primary") || :
    case $code in
        200) is=0 ;;
        503) is=1 ;;
        *) is=$(cat "$2" 2>/dev/null) || is=1 ;;
    esac
    [ "$is" = "$(cat "$2" 2>/dev/null)" ] || echo "$is" > "$2"
}}
if [ $# -lt 3 ]; then ask "$1" "$2"; exit "$is"; fi
while :; do
    ask "$1" "$2"
    [ "$is" = "$(cat "$3" 2>/dev/null)" ] || echo "$is" > "$3"
    sleep 0.2
done
END
chmod 755 "$etc/pgvigil-check"

cat > "$etc/keepalived.conf" <<END
global_defs {{
    script_user root
    enable_script_security
}}

vrrp_script pgvigil {{
    script "$etc/pgvigil-check $node $run/state"
    interval 1
    timeout 2
    fall 1
    rise 1
    init_fail
}}

# Quicker: run as a service  pgvigil-check $node $run/state $run/primary
# and put this in place of vrrp_script and track_script:
# track_file pgvigil {{
#     file $run/primary
#     weight 0
#     init_file 1 overwrite
# }}

vrrp_instance {cluster} {{
    state BACKUP
    nopreempt
    interface $interface
    virtual_router_id {router}
    priority 100
    advert_int 1
    virtual_ipaddress {{
        $address
    }}
    track_script {{
        pgvigil
    }}
    # track_file {{
    #     pgvigil
    # }}
}}
END
echo "$etc/pgvigil-check and $etc/keepalived.conf are written; now: systemctl restart keepalived"
"""


def keepalived(spec: ClusterSpec, url: str, *, router: int = 51, ca: str = "") -> str:
    """The script. `url`: the HTTP face as nodes see it, without the cluster; `ca`: file on the nodes."""
    names = [str(node.name) for node in spec.nodes if node.may_be_primary()]
    return SCRIPT.format(
        cluster=spec.name,
        nodes=", ".join(names),
        cases=" | ".join(names),
        url=f"{url}/clusters/{spec.name}",
        options=f"--cacert {ca} " if ca else "",
        router=router,
    )
